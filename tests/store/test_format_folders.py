"""Formats with one file per image: npz of bottom-up-attention.pytorch and openvqa, cocobu, mmf."""

import os
import pickle
import zipfile

import lmdb
import numpy as np
import pytest

from bua.errors import InputError
from bua.store.formats.arrays import read_npy
from bua.store.formats.source import InvalidImageError
from tests.helpers.foreign_formats import (
    export_file,
    identical,
    import_file,
    sample_regions,
    write_sizes,
    write_store,
)

IMAGES = {n: sample_regions(n + 2, n) for n in (1, 2, 3)}


class Evil:
    """Runs a command when it is unpickled without precautions."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


def info(r, first: int = 0) -> dict:
    return {
        "image_id": "x",
        "image_h": np.size(np.zeros(r.size), 0),
        "image_w": r.size[1],
        "num_boxes": len(r),
        "objects_id": r.class_id.astype(np.int64) + first,
        "objects_conf": r.class_score,
        "attrs_id": r.attribute_id.astype(np.int64) + first,
        "attrs_conf": r.attribute_score,
    }


def mil(folder, name: str, r, first: int = 0, **changes) -> None:
    folder.mkdir(exist_ok=True)
    arrays = {
        "x": r.features,
        "bbox": r.boxes,
        "num_bbox": len(r),
        "image_h": r.size[0],
        "image_w": r.size[1],
    }
    arrays |= {"info": info(r, first), **changes}
    np.savez_compressed(folder / name, **{k: v for k, v in arrays.items() if v is not None})


def test_mil_files_are_read_as_its_extractor_writes_them(tmp_path) -> None:
    for n, r in IMAGES.items():
        mil(tmp_path / "f", f"COCO_val2014_{n:012d}", r)
    store, result = import_file("mil_npz", tmp_path / "f", tmp_path / "b.h5")
    assert store.image_ids == [1, 2, 3]
    assert all(identical(store[n], r) for n, r in IMAGES.items())
    assert (result.repaired, result.dropped) == ({}, {})


def test_mil_ids_with_the_background_first_are_read_with_that_option(tmp_path) -> None:
    mil(tmp_path / "f", "1", IMAGES[1], first=1)
    bad = info(IMAGES[2], first=1)
    bad["objects_id"][1] = 0
    mil(tmp_path / "f", "2", IMAGES[2], info=bad)
    store, result = import_file("mil_npz", tmp_path / "f", tmp_path / "b.h5", source={"background": "first"})
    assert identical(store[1], IMAGES[1])
    assert (
        "class_id of region 1 is the background; classes=none leaves classes out" in result.dropped["2.npz"]
    )
    without = frozenset(["class_id", "class_score", "attribute_id", "attribute_score"])
    store, result = import_file(
        "mil_npz",
        tmp_path / "f",
        tmp_path / "c.h5",
        source={"background": "first", "excluded_columns": without},
    )
    assert result.dropped == {}
    assert set(store[2].arrays()) == {"features", "boxes"}


def test_an_npz_that_would_run_a_command_is_dropped(tmp_path) -> None:
    mil(tmp_path / "f", "1", IMAGES[1])
    mil(tmp_path / "f", "2", IMAGES[2], info=Evil(tmp_path / "witness"))
    result = import_file("mil_npz", tmp_path / "f", tmp_path / "b.h5")[1]
    assert "system, which is not a plain value" in result.dropped["2.npz"]
    assert not (tmp_path / "witness").exists()


def test_transposed_features_are_recognized_by_their_shape(tmp_path) -> None:
    """openvqa's loader expects (D, n), the extractor of the same group writes (n, D)."""
    for n, r in IMAGES.items():
        turned = np.ascontiguousarray(r.features.T) if n != 2 else r.features
        mil(tmp_path / "f", str(n), r, x=turned, info=None)
    for name in ("openvqa_npz", "mil_npz"):
        store, result = import_file(name, tmp_path / "f", tmp_path / f"{name}.h5")
        assert result.dropped == {}
        assert all(identical(store[n], r, ()) for n, r in IMAGES.items())


def test_features_of_ambiguous_shape_are_dropped(tmp_path) -> None:
    mil(tmp_path / "f", "1", sample_regions(3, 1), info=None)
    mil(tmp_path / "f", "2", sample_regions(11, 2), info=None)
    result = import_file("openvqa_npz", tmp_path / "f", tmp_path / "b.h5")[1]
    assert result.dropped == {
        "2.npz": "features of shape 11 x 11 for 11 regions are ambiguous: (n, D) or (D, n)"
    }


def test_openvqa_writes_transposed_features(tmp_path) -> None:
    export_file("openvqa_npz", write_store(tmp_path / "a.h5", IMAGES), tmp_path / "f")
    assert np.load(tmp_path / "f" / "1.npz")["x"].shape == (11, 3)


def test_padding_of_an_npz_is_removed(tmp_path) -> None:
    r = IMAGES[1]
    padded = {"x": np.pad(r.features, ((0, 4), (0, 0))), "bbox": np.pad(r.boxes, ((0, 4), (0, 0)))}
    mil(tmp_path / "f", "1", r, **padded, num_bbox=len(r))
    assert identical(import_file("mil_npz", tmp_path / "f", tmp_path / "b.h5")[0][1], r)


def test_an_npz_without_sizes_needs_them_from_elsewhere(tmp_path) -> None:
    mil(tmp_path / "f", "1", IMAGES[1], image_h=None, image_w=None)
    with pytest.raises(InputError, match="image size is missing; set images="):
        import_file("openvqa_npz", tmp_path / "f", tmp_path / "b.h5")
    sizes = write_sizes(tmp_path / "s.json", IMAGES)
    assert import_file("openvqa_npz", tmp_path / "f", tmp_path / "b.h5", images=sizes)[0][1].size == (37, 53)


BROKEN = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "html": lambda content: b"<html>404</html>",
}


@pytest.mark.parametrize("how", sorted(BROKEN))
def test_a_partly_written_file_is_dropped(how: str, tmp_path) -> None:
    for n in (1, 2):
        mil(tmp_path / "f", str(n), IMAGES[n])
    path = tmp_path / "f" / "2.npz"
    path.write_bytes(BROKEN[how](path.read_bytes()))
    store, result = import_file("mil_npz", tmp_path / "f", tmp_path / "b.h5")
    assert store.image_ids == [1]
    assert "not a readable .npz file" in result.dropped["2.npz"]


def test_an_array_larger_than_its_bytes_is_dropped(tmp_path) -> None:
    """A header may declare any shape; memory is allocated only for bytes that exist."""
    mil(tmp_path / "f", "1", IMAGES[1])
    with zipfile.ZipFile(tmp_path / "f" / "2.npz", "w") as archive:
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999, 4096), }"
        header += b" " * (117 - len(header)) + b"\n"
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    result = import_file("mil_npz", tmp_path / "f", tmp_path / "b.h5")[1]
    assert "0 bytes, but 1638383616 are needed" in result.dropped["2.npz"]


def cocobu(tmp_path, key: str = "feat", box: bool = True) -> None:
    for part in ("att", "fc", "box"):
        (tmp_path / f"cocobu_{part}").mkdir(exist_ok=True)
    for n, r in IMAGES.items():
        np.savez_compressed(tmp_path / "cocobu_att" / str(n), **{key: r.features})
        np.save(tmp_path / "cocobu_fc" / str(n), r.features.mean(0))
        if box:
            np.save(tmp_path / "cocobu_box" / str(n), r.boxes)
    write_sizes(tmp_path / "s.json", IMAGES)


@pytest.mark.parametrize("key", ["feat", "z", "arr_0"])
@pytest.mark.parametrize("source", ["cocobu", "cocobu_att"])
def test_cocobu_is_read_with_any_key_and_from_prefix_or_folder(key: str, source: str, tmp_path) -> None:
    cocobu(tmp_path, key)
    store, _ = import_file("cocobu", tmp_path / source, tmp_path / "b.h5", images=tmp_path / "s.json")
    assert all(identical(store[n], r, ()) for n, r in IMAGES.items())


def test_cocobu_writes_mean_features(tmp_path) -> None:
    export_file("cocobu", write_store(tmp_path / "a.h5", IMAGES), tmp_path / "c")
    assert np.array_equal(np.load(tmp_path / "c_fc" / "2.npy"), IMAGES[2].features.mean(0))
    assert sorted(p.name for p in tmp_path.glob("c_*")) == ["c_att", "c_box", "c_fc"]


def test_cocobu_without_boxes_needs_them_or_uses_the_whole_image_on_request(tmp_path) -> None:
    cocobu(tmp_path, box=False)
    os.rmdir(tmp_path / "cocobu_box")
    options = {"images": tmp_path / "s.json"}
    with pytest.raises(InputError, match="boxes are missing; set boxes=FOLDER, or boxes=whole"):
        import_file("cocobu", tmp_path / "cocobu", tmp_path / "b.h5", **options)
    store, _ = import_file(
        "cocobu", tmp_path / "cocobu", tmp_path / "b.h5", whole_image_boxes=True, **options
    )
    assert store[1].boxes.tolist() == [[0, 0, 53, 37]] * 3
    assert store.metadata.configuration["boxes"] == "whole image"


def test_cocobu_boxes_may_be_in_another_folder(tmp_path) -> None:
    cocobu(tmp_path)
    (tmp_path / "cocobu_box").rename(tmp_path / "elsewhere")
    source = {"boxes": tmp_path / "elsewhere"}
    store, _ = import_file(
        "cocobu", tmp_path / "cocobu", tmp_path / "b.h5", source=source, images=tmp_path / "s.json"
    )
    assert identical(store[3], IMAGES[3], ())
    (tmp_path / "elsewhere" / "3.npy").unlink()
    result = import_file(
        "cocobu", tmp_path / "cocobu", tmp_path / "c.h5", source=source, images=tmp_path / "s.json"
    )[1]
    assert result.dropped == {"cocobu_att/3.npz": "file 3.npy does not exist"}


def mmf_info(r, columns: int = 3, first: int = 0) -> dict:
    """Return the info of mmf's extractor; ``first`` is 1 with its option --background."""
    probabilities = np.full((len(r), columns), 0.001, np.float32)
    probabilities[np.arange(len(r)), r.class_id + first] = r.class_score
    return {
        "bbox": r.boxes,
        "num_boxes": len(r),
        "objects": r.class_id.astype(np.int64) + first,
        "cls_prob": probabilities,
        "image_width": r.size[1],
        "image_height": r.size[0],
    }


LABELS = ("class_id", "class_score")


@pytest.mark.parametrize(("columns", "first"), [(3, 0), (4, 1)])
def test_mmf_files_are_read_with_and_without_background(columns: int, first: int, tmp_path) -> None:
    (tmp_path / "f").mkdir()
    for n, r in IMAGES.items():
        name = f"COCO_train2014_{n:012d}"
        np.save(tmp_path / "f" / f"{name}.npy", r.features)
        np.save(tmp_path / "f" / f"{name}_info.npy", mmf_info(r, columns, first))
    store, result = import_file("mmf_npy", tmp_path / "f", tmp_path / "b.h5")
    assert (store.image_ids, result.dropped) == ([1, 2, 3], {})
    assert all(identical(store[n], r, LABELS) for n, r in IMAGES.items())


def test_mmf_regions_whose_most_likely_class_is_the_background_get_the_next(tmp_path) -> None:
    (tmp_path / "f").mkdir()
    noted = mmf_info(IMAGES[1], 4, 1)
    noted["cls_prob"][:, 0], noted["objects"][:] = 1, 0
    np.save(tmp_path / "f" / "1.npy", IMAGES[1].features)
    np.save(tmp_path / "f" / "1_info.npy", noted)
    store, result = import_file("mmf_npy", tmp_path / "f", tmp_path / "b.h5")
    assert result.dropped == {}
    assert identical(store[1], IMAGES[1], LABELS)


def test_without_names_1601_probabilities_mean_background_first(tmp_path) -> None:
    (tmp_path / "f").mkdir()
    np.save(tmp_path / "f" / "1.npy", IMAGES[1].features)
    np.save(tmp_path / "f" / "1_info.npy", mmf_info(IMAGES[1], 1601, 1))
    nameless = {"class_names": ()}
    store, _ = import_file("mmf_npy", tmp_path / "f", tmp_path / "b.h5", source=nameless)
    assert identical(store[1], IMAGES[1], LABELS)


def test_probabilities_that_do_not_fit_the_names_are_refused(tmp_path) -> None:
    (tmp_path / "f").mkdir()
    for n, columns in ((1, 3), (2, 9)):
        np.save(tmp_path / "f" / f"{n}.npy", IMAGES[n].features)
        np.save(tmp_path / "f" / f"{n}_info.npy", mmf_info(IMAGES[n], columns))
    result = import_file("mmf_npy", tmp_path / "f", tmp_path / "b.h5")[1]
    assert result.dropped == {"2.npy": "9 class probabilities (background: none) for 3 names"}


def test_mmf_padding_of_zeros_is_removed(tmp_path) -> None:
    (tmp_path / "f").mkdir()
    np.save(tmp_path / "f" / "1.npy", np.pad(IMAGES[1].features, ((0, 7), (0, 0))))
    np.save(tmp_path / "f" / "1_info.npy", mmf_info(IMAGES[1]))
    assert identical(import_file("mmf_npy", tmp_path / "f", tmp_path / "b.h5")[0][1], IMAGES[1], LABELS)


def test_an_lmdb_is_read_as_mmf_converts_it(tmp_path) -> None:
    env = lmdb.open(str(tmp_path / "f.lmdb"), map_size=2**24)
    with env.begin(write=True) as txn:
        for n, r in IMAGES.items():
            noted = mmf_info(r)
            key = f"COCO_train2014_{n:012d}".encode()
            txn.put(key, pickle.dumps({"feature_path": "x", "features": r.features, **noted}))
        txn.put(b"keys", pickle.dumps([b"1", b"2"]))
        txn.put(b"COCO_train2014_000000000009", pickle.dumps({"features": Evil(tmp_path / "witness")}))
        txn.put(b"COCO_train2014_000000000010", b"noise")
    env.close()
    store, result = import_file("mmf_lmdb", tmp_path / "f.lmdb", tmp_path / "b.h5")
    assert store.image_ids == [1, 2, 3]
    assert all(identical(store[n], r, LABELS) for n, r in IMAGES.items())
    assert len(result.dropped) == 2
    assert any("system, which is not a plain value" in reason for reason in result.dropped.values())
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.ones((3, 8), np.float32).tobytes(), "pickled value: not readable"),
        (pickle.dumps(np.ones((3, 8))), "the value must be a dictionary, got an array"),
        (pickle.dumps({"feat": np.ones((3, 8))}), "features are missing"),
    ],
)
def test_an_lmdb_of_another_project_is_refused_with_what_was_expected(value, reason, tmp_path) -> None:
    with lmdb.open(str(tmp_path / "f.lmdb"), map_size=2**24) as env, env.begin(write=True) as txn:
        txn.put(b"1", value)
    expected = f"f.lmdb key 1: {reason}.*; values of mmf are pickled dictionaries .* with format=mil_npz$"
    with pytest.raises(InputError, match=expected):
        import_file("mmf_lmdb", tmp_path / "f.lmdb", tmp_path / "b.h5")


@pytest.mark.parametrize("how", ["cut", "empty", "noise", "no folder"])
def test_a_damaged_lmdb_is_refused_although_reading_it_may_crash_a_process(how: str, tmp_path) -> None:
    export_file("mmf_lmdb", write_store(tmp_path / "a.h5", IMAGES), tmp_path / "f.lmdb")
    path = tmp_path / "f.lmdb" / "data.mdb"
    content = path.read_bytes()
    if how == "no folder":
        path.unlink()
    else:
        path.write_bytes({"cut": content[:9000], "empty": b"", "noise": bytes(range(256)) * 99}[how])
    with pytest.raises(InputError, match=r"f.lmdb: (not a readable LMDB|has no images|none of its)"):
        import_file("mmf_lmdb", tmp_path / "f.lmdb", tmp_path / "b.h5")


def test_exported_mmf_files_are_readable_by_numpy_and_lmdb(tmp_path) -> None:
    store = write_store(tmp_path / "a.h5", IMAGES)
    export_file("mmf_npy", store, tmp_path / "f")
    export_file("mmf_lmdb", store, tmp_path / "f.lmdb")
    noted = np.load(tmp_path / "f" / "2_info.npy", allow_pickle=True).item()
    assert type(noted["bbox"]) is np.ndarray
    assert np.array_equal(noted["objects"], IMAGES[2].class_id)
    env = lmdb.open(str(tmp_path / "f.lmdb"), readonly=True, lock=False)
    with env.begin() as txn:
        keys = pickle.loads(txn.get(b"keys"))  # noqa: S301 - our own bytes
        value = pickle.loads(txn.get(keys[1]))  # noqa: S301
    env.close()
    assert keys == [b"1", b"2", b"3"]
    assert np.array_equal(value["features"], IMAGES[2].features)
    assert value["image_height"] == 37


def test_without_the_package_lmdb_the_extra_is_named(tmp_path, monkeypatch) -> None:
    store = write_store(tmp_path / "a.h5", IMAGES)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for attempt in (
        lambda: export_file("mmf_lmdb", store, tmp_path / "f.lmdb"),
        lambda: import_file("mmf_lmdb", tmp_path / "f.lmdb", tmp_path / "b.h5"),
    ):
        with pytest.raises(InputError, match=r"mmf_lmdb needs the package lmdb: pip install 'bua\[lmdb\]'"):
            attempt()
    monkeypatch.undo()
    export_file("mmf_lmdb", store, tmp_path / "f.lmdb")


def test_an_image_whose_id_is_the_list_of_keys_cannot_be_exported(tmp_path) -> None:
    store = write_store(tmp_path / "a.h5", {"keys": IMAGES[1]})
    with pytest.raises(InputError, match="image id 'keys' cannot be a key of an LMDB"):
        export_file("mmf_lmdb", store, tmp_path / "f.lmdb")


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_both_versions_of_npy_with_plain_values_are_read(version, tmp_path) -> None:
    with open(tmp_path / "x.npy", "wb") as file:
        np.lib.format.write_array(file, IMAGES[1].features, version=version)
    assert np.array_equal(read_npy(tmp_path / "x.npy"), IMAGES[1].features)


def test_the_reason_why_an_array_is_unsafe_is_told_as_it_is(tmp_path) -> None:
    np.save(tmp_path / "x.npy", np.array(Evil(tmp_path / "witness"), dtype=object))
    with pytest.raises(InvalidImageError) as refused:
        read_npy(tmp_path / "x.npy")
    assert "x.npy is not a readable" not in str(refused.value)
    assert "system, which is not a plain value" in str(refused.value)
