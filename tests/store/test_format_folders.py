"""Formats of a file an image: npz of bottom-up-attention.pytorch and openvqa, cocobu, mmf."""

import os
import pickle
import zipfile

import lmdb
import numpy as np
import pytest

from bua.errors import InputError
from tests.helpers.foreign_formats import bring, same, sample, send, sizes_json, write

IMAGES = {n: sample(n + 2, n) for n in (1, 2, 3)}


class Evil:
    """Runs a command when unpickled by anything that is not careful."""

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
    store, done = bring("mil_npz", tmp_path / "f", tmp_path / "b.h5")
    assert store.image_ids == [1, 2, 3]
    assert all(same(store[n], r) for n, r in IMAGES.items())
    assert (done.repaired, done.dropped) == ({}, {})


def test_mil_ids_that_count_the_background_first_are_told_so(tmp_path) -> None:
    mil(tmp_path / "f", "1", IMAGES[1], first=1)
    bad = info(IMAGES[2], first=1)
    bad["objects_id"][1] = 0
    mil(tmp_path / "f", "2", IMAGES[2], info=bad)
    store, done = bring("mil_npz", tmp_path / "f", tmp_path / "b.h5", source={"background": "first"})
    assert same(store[1], IMAGES[1])
    assert "class_id of region 1 is the background; classes=none leaves classes out" in done.dropped["2.npz"]
    without = frozenset(["class_id", "class_score", "attribute_id", "attribute_score"])
    store, done = bring(
        "mil_npz", tmp_path / "f", tmp_path / "c.h5", source={"background": "first", "without": without}
    )
    assert done.dropped == {}
    assert set(store[2].arrays()) == {"features", "boxes"}


def test_an_npz_that_would_run_a_command_is_left_out(tmp_path) -> None:
    mil(tmp_path / "f", "1", IMAGES[1])
    mil(tmp_path / "f", "2", IMAGES[2], info=Evil(tmp_path / "witness"))
    done = bring("mil_npz", tmp_path / "f", tmp_path / "b.h5")[1]
    assert "system is not a plain value" in done.dropped["2.npz"]
    assert not (tmp_path / "witness").exists()


def test_features_turned_over_are_told_by_their_shape(tmp_path) -> None:
    """openvqa's loader wants (D, n), the extractor of the same group writes (n, D)."""
    for n, r in IMAGES.items():
        turned = np.ascontiguousarray(r.features.T) if n != 2 else r.features
        mil(tmp_path / "f", str(n), r, x=turned, info=None)
    for name in ("openvqa_npz", "mil_npz"):
        store, done = bring(name, tmp_path / "f", tmp_path / f"{name}.h5")
        assert done.dropped == {}
        assert all(same(store[n], r, ()) for n, r in IMAGES.items())


def test_features_that_can_be_read_both_ways_are_left_out(tmp_path) -> None:
    mil(tmp_path / "f", "1", sample(3, 1), info=None)
    mil(tmp_path / "f", "2", sample(11, 2), info=None)
    done = bring("openvqa_npz", tmp_path / "f", tmp_path / "b.h5")[1]
    assert done.dropped == {"2.npz": "features are 11 x 11 for 11 regions: they can be read both ways"}


def test_openvqa_writes_features_turned_over(tmp_path) -> None:
    send("openvqa_npz", write(tmp_path / "a.h5", IMAGES), tmp_path / "f")
    assert np.load(tmp_path / "f" / "1.npz")["x"].shape == (11, 3)


def test_padding_of_an_npz_is_cut(tmp_path) -> None:
    r = IMAGES[1]
    padded = {"x": np.pad(r.features, ((0, 4), (0, 0))), "bbox": np.pad(r.boxes, ((0, 4), (0, 0)))}
    mil(tmp_path / "f", "1", r, **padded, num_bbox=len(r))
    assert same(bring("mil_npz", tmp_path / "f", tmp_path / "b.h5")[0][1], r)


def test_sizes_that_an_npz_lacks_are_asked_for(tmp_path) -> None:
    mil(tmp_path / "f", "1", IMAGES[1], image_h=None, image_w=None)
    with pytest.raises(InputError, match="its size is not told: give images="):
        bring("openvqa_npz", tmp_path / "f", tmp_path / "b.h5")
    sizes = sizes_json(tmp_path / "s.json", IMAGES)
    assert bring("openvqa_npz", tmp_path / "f", tmp_path / "b.h5", images=sizes)[0][1].size == (37, 53)


BROKEN = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "html": lambda content: b"<html>404</html>",
}


@pytest.mark.parametrize("how", sorted(BROKEN))
def test_a_file_that_was_half_written_is_left_out(how: str, tmp_path) -> None:
    for n in (1, 2):
        mil(tmp_path / "f", str(n), IMAGES[n])
    path = tmp_path / "f" / "2.npz"
    path.write_bytes(BROKEN[how](path.read_bytes()))
    store, done = bring("mil_npz", tmp_path / "f", tmp_path / "b.h5")
    assert store.image_ids == [1]
    assert "not a readable .npz file" in done.dropped["2.npz"]


def test_an_array_larger_than_its_bytes_is_left_out(tmp_path) -> None:
    """A header may claim any shape; memory is taken only for bytes that are there."""
    mil(tmp_path / "f", "1", IMAGES[1])
    with zipfile.ZipFile(tmp_path / "f" / "2.npz", "w") as archive:
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999, 4096), }"
        header += b" " * (117 - len(header)) + b"\n"
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    done = bring("mil_npz", tmp_path / "f", tmp_path / "b.h5")[1]
    assert "0 bytes, 1638383616 are needed" in done.dropped["2.npz"]


def cocobu(tmp_path, key: str = "feat", box: bool = True) -> None:
    for part in ("att", "fc", "box"):
        (tmp_path / f"cocobu_{part}").mkdir(exist_ok=True)
    for n, r in IMAGES.items():
        np.savez_compressed(tmp_path / "cocobu_att" / str(n), **{key: r.features})
        np.save(tmp_path / "cocobu_fc" / str(n), r.features.mean(0))
        if box:
            np.save(tmp_path / "cocobu_box" / str(n), r.boxes)
    sizes_json(tmp_path / "s.json", IMAGES)


@pytest.mark.parametrize("key", ["feat", "z", "arr_0"])
@pytest.mark.parametrize("source", ["cocobu", "cocobu_att"])
def test_cocobu_is_read_whatever_its_key_and_from_prefix_or_folder(key: str, source: str, tmp_path) -> None:
    cocobu(tmp_path, key)
    store, _ = bring("cocobu", tmp_path / source, tmp_path / "b.h5", images=tmp_path / "s.json")
    assert all(same(store[n], r, ()) for n, r in IMAGES.items())


def test_cocobu_writes_means_beside_features(tmp_path) -> None:
    send("cocobu", write(tmp_path / "a.h5", IMAGES), tmp_path / "c")
    assert np.array_equal(np.load(tmp_path / "c_fc" / "2.npy"), IMAGES[2].features.mean(0))
    assert sorted(p.name for p in tmp_path.glob("c_*")) == ["c_att", "c_box", "c_fc"]


def test_cocobu_without_boxes_asks_for_them_or_takes_the_whole_image_if_told(tmp_path) -> None:
    cocobu(tmp_path, box=False)
    os.rmdir(tmp_path / "cocobu_box")
    options = {"images": tmp_path / "s.json"}
    with pytest.raises(InputError, match="it has no boxes: give boxes=FOLDER, or boxes=whole"):
        bring("cocobu", tmp_path / "cocobu", tmp_path / "b.h5", **options)
    store, _ = bring("cocobu", tmp_path / "cocobu", tmp_path / "b.h5", whole_boxes=True, **options)
    assert store[1].boxes.tolist() == [[0, 0, 53, 37]] * 3
    assert store.about.configuration["boxes"] == "whole image"


def test_cocobu_boxes_may_lie_elsewhere(tmp_path) -> None:
    cocobu(tmp_path)
    (tmp_path / "cocobu_box").rename(tmp_path / "elsewhere")
    source = {"boxes": tmp_path / "elsewhere"}
    store, _ = bring(
        "cocobu", tmp_path / "cocobu", tmp_path / "b.h5", source=source, images=tmp_path / "s.json"
    )
    assert same(store[3], IMAGES[3], ())
    (tmp_path / "elsewhere" / "3.npy").unlink()
    done = bring("cocobu", tmp_path / "cocobu", tmp_path / "c.h5", source=source, images=tmp_path / "s.json")[
        1
    ]
    assert done.dropped == {"cocobu_att/3.npz": "there is no 3.npy"}


def mmf_info(r, columns: int = 3, first: int = 0) -> dict:
    """Return what mmf's extractor notes; ``first`` is 1 with its option --background."""
    table = np.full((len(r), columns), 0.001, np.float32)
    table[np.arange(len(r)), r.class_id + first] = r.class_score
    return {
        "bbox": r.boxes,
        "num_boxes": len(r),
        "objects": r.class_id.astype(np.int64) + first,
        "cls_prob": table,
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
    store, done = bring("mmf_npy", tmp_path / "f", tmp_path / "b.h5")
    assert (store.image_ids, done.dropped) == ([1, 2, 3], {})
    assert all(same(store[n], r, LABELS) for n, r in IMAGES.items())


def test_mmf_regions_whose_likeliest_class_is_the_background_get_the_next(tmp_path) -> None:
    (tmp_path / "f").mkdir()
    noted = mmf_info(IMAGES[1], 4, 1)
    noted["cls_prob"][:, 0], noted["objects"][:] = 1, 0
    np.save(tmp_path / "f" / "1.npy", IMAGES[1].features)
    np.save(tmp_path / "f" / "1_info.npy", noted)
    store, done = bring("mmf_npy", tmp_path / "f", tmp_path / "b.h5")
    assert done.dropped == {}
    assert same(store[1], IMAGES[1], LABELS)


def test_without_names_1601_probabilities_mean_background_first(tmp_path) -> None:
    (tmp_path / "f").mkdir()
    np.save(tmp_path / "f" / "1.npy", IMAGES[1].features)
    np.save(tmp_path / "f" / "1_info.npy", mmf_info(IMAGES[1], 1601, 1))
    nameless = {"class_names": ()}
    store, _ = bring("mmf_npy", tmp_path / "f", tmp_path / "b.h5", source=nameless)
    assert same(store[1], IMAGES[1], LABELS)


def test_probabilities_that_do_not_fit_the_names_are_refused(tmp_path) -> None:
    (tmp_path / "f").mkdir()
    for n, columns in ((1, 3), (2, 9)):
        np.save(tmp_path / "f" / f"{n}.npy", IMAGES[n].features)
        np.save(tmp_path / "f" / f"{n}_info.npy", mmf_info(IMAGES[n], columns))
    done = bring("mmf_npy", tmp_path / "f", tmp_path / "b.h5")[1]
    assert done.dropped == {"2.npy": "9 class probabilities (background: none) for 3 names"}


def test_mmf_rows_filled_up_with_zeros_are_cut(tmp_path) -> None:
    (tmp_path / "f").mkdir()
    np.save(tmp_path / "f" / "1.npy", np.pad(IMAGES[1].features, ((0, 7), (0, 0))))
    np.save(tmp_path / "f" / "1_info.npy", mmf_info(IMAGES[1]))
    assert same(bring("mmf_npy", tmp_path / "f", tmp_path / "b.h5")[0][1], IMAGES[1], LABELS)


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
    store, done = bring("mmf_lmdb", tmp_path / "f.lmdb", tmp_path / "b.h5")
    assert store.image_ids == [1, 2, 3]
    assert all(same(store[n], r, LABELS) for n, r in IMAGES.items())
    assert len(done.dropped) == 2
    assert any("system is not a plain value" in reason for reason in done.dropped.values())
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize("how", ["cut", "empty", "noise", "no folder"])
def test_a_damaged_lmdb_is_refused_though_reading_it_may_end_a_process(how: str, tmp_path) -> None:
    send("mmf_lmdb", write(tmp_path / "a.h5", IMAGES), tmp_path / "f.lmdb")
    path = tmp_path / "f.lmdb" / "data.mdb"
    content = path.read_bytes()
    if how == "no folder":
        path.unlink()
    else:
        path.write_bytes({"cut": content[:9000], "empty": b"", "noise": bytes(range(256)) * 99}[how])
    with pytest.raises(InputError, match=r"f.lmdb: (not a readable LMDB|there are no images|none of its)"):
        bring("mmf_lmdb", tmp_path / "f.lmdb", tmp_path / "b.h5")


def test_what_is_written_mmf_and_numpy_read(tmp_path) -> None:
    store = write(tmp_path / "a.h5", IMAGES)
    send("mmf_npy", store, tmp_path / "f")
    send("mmf_lmdb", store, tmp_path / "f.lmdb")
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
    store = write(tmp_path / "a.h5", IMAGES)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for attempt in (
        lambda: send("mmf_lmdb", store, tmp_path / "f.lmdb"),
        lambda: bring("mmf_lmdb", tmp_path / "f.lmdb", tmp_path / "b.h5"),
    ):
        with pytest.raises(InputError, match=r"mmf_lmdb needs the package lmdb: pip install 'bua\[lmdb\]'"):
            attempt()
    monkeypatch.undo()
    send("mmf_lmdb", store, tmp_path / "f.lmdb")
