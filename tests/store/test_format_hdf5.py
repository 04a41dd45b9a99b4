"""HDF5 formats as their authors' code writes them: bottom-up-attention-vqa, ban-vqa, counting, M2, nocaps."""

import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.errors import InputError
from bua.store import Regions
from bua.store.formats.hengyuan import infer_size, spatial_features
from bua.store.formats.source import InvalidImageError
from tests.helpers.foreign_formats import (
    export_file,
    identical,
    import_file,
    sample_regions,
    write_sizes,
    write_store,
)

EVEN = {n: sample_regions(4, n, size=(30 + n, 640)) for n in (5, 3, 9)}
UNEVEN = {n: sample_regions(n, n, size=(480, 300 + n)) for n in (5, 3, 9)}


def spatial(r: Regions) -> np.ndarray:
    """Return x1/W, y1/H, x2/W, y2/H, w/W, h/H as the authors' converter computes them."""
    image_h, image_w = (float(side) for side in r.size)
    bboxes = r.boxes
    w, h = (bboxes[:, 2] - bboxes[:, 0]) / image_w, (bboxes[:, 3] - bboxes[:, 1]) / image_h
    x, y = bboxes[:, 0] / image_w, bboxes[:, 1] / image_h
    return np.stack([x, y, x + w, y + h, w, h], 1)


def fixed(path: Path, images: dict, protocol: int = 0) -> Path:
    """Write a file like hengyuan-hu's converter, with rows in another order than ids and an unused row."""
    with h5py.File(path, "w") as file:
        for name, width in (("image_features", 11), ("image_bb", 4), ("spatial_features", 6)):
            file.create_dataset(name, (len(images) + 1, 4, width), "f")
        for n, r in enumerate(images.values()):
            file["image_features"][n], file["image_bb"][n] = r.features, r.boxes
            file["spatial_features"][n] = spatial(r)
    rows = {image: n for n, image in enumerate(images)}
    path.with_name(f"{path.stem}_imgid2idx.pkl").write_bytes(pickle.dumps(rows, protocol))
    return path


def adaptive(path: Path, images: dict) -> Path:
    """Write a file like ban-vqa's converter."""
    with h5py.File(path, "w") as file:
        file["image_features"] = np.concatenate([r.features for r in images.values()])
        file["image_bb"] = np.concatenate([r.boxes for r in images.values()])
        file["spatial_features"] = np.concatenate([spatial(r) for r in images.values()])
        ends = np.cumsum([len(r) for r in images.values()])
        starts = ends - [len(r) for r in images.values()]
        file["pos_boxes"] = np.append(np.stack([starts, ends], 1), [[0, 0]], 0).astype("i4")
    rows = {image: n for n, image in enumerate(images)}
    path.with_name(f"{path.stem}_imgid2idx.pkl").write_bytes(pickle.dumps(rows))
    return path


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_files_of_36_are_read_with_sizes_from_their_fractions(protocol: int, tmp_path) -> None:
    store, result = import_file(
        "hengyuan_hdf5", fixed(tmp_path / "train36.hdf5", EVEN, protocol), tmp_path / "b.h5"
    )
    assert store.image_ids == [5, 3, 9]
    assert all(identical(store[n], r, ()) for n, r in EVEN.items())
    assert (result.repaired, result.dropped) == ({}, {})


def test_files_of_ban_are_read_with_sizes_from_their_fractions(tmp_path) -> None:
    store, result = import_file("ban_hdf5", adaptive(tmp_path / "train.hdf5", UNEVEN), tmp_path / "b.h5")
    assert store.image_ids == [5, 3, 9]
    assert all(identical(store[n], r, ()) for n, r in UNEVEN.items())


def test_the_pickle_is_required_and_may_be_elsewhere(tmp_path) -> None:
    path = fixed(tmp_path / "train36.hdf5", EVEN)
    index = (tmp_path / "train36_imgid2idx.pkl").rename(tmp_path / "rows.pkl")
    with pytest.raises(InputError, match=r"train36.hdf5: needs index=train36_imgid2idx.pkl"):
        import_file("hengyuan_hdf5", path, tmp_path / "b.h5")
    store, _ = import_file("hengyuan_hdf5", path, tmp_path / "b.h5", source={"index": index})
    assert len(store) == 3


class Evil:
    """Runs a command when it is unpickled without precautions."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize("content", ["evil", "list", "texts", "below", "empty"])
def test_a_pickle_of_anything_else_is_refused(content: str, tmp_path) -> None:
    path = fixed(tmp_path / "t.hdf5", EVEN)
    values = {"list": [1], "texts": {1: "x"}, "below": {1: -1}, "empty": {}, "evil": Evil(tmp_path / "w")}
    (tmp_path / "t_imgid2idx.pkl").write_bytes(pickle.dumps(values[content]))
    with pytest.raises(InputError, match=r"t_imgid2idx.pkl: "):
        import_file("hengyuan_hdf5", path, tmp_path / "b.h5")
    assert not (tmp_path / "w").exists()


def test_rows_beyond_the_file_and_invalid_ranges_are_dropped(tmp_path) -> None:
    path = fixed(tmp_path / "t.hdf5", EVEN)
    (tmp_path / "t_imgid2idx.pkl").write_bytes(pickle.dumps({5: 0, 6: 99}))
    result = import_file("hengyuan_hdf5", path, tmp_path / "b.h5")[1]
    assert result.dropped == {"t.hdf5 row 99": "the file has only 4 rows"}
    path = adaptive(tmp_path / "u.hdf5", UNEVEN)
    with h5py.File(path, "r+") as file:
        file["pos_boxes"][1] = [5, 999]
    result = import_file("ban_hdf5", path, tmp_path / "c.h5")[1]
    assert result.dropped == {"u.hdf5 row 1": "pos_boxes must be a range of the 17 regions, got 5 to 999"}


def test_fractions_alone_need_sizes(tmp_path) -> None:
    path = fixed(tmp_path / "t.hdf5", EVEN)
    with h5py.File(path, "r+") as file:
        del file["image_bb"]
    with pytest.raises(InputError, match="set images="):
        import_file("hengyuan_hdf5", path, tmp_path / "b.h5")
    store, _ = import_file(
        "hengyuan_hdf5", path, tmp_path / "b.h5", images=write_sizes(tmp_path / "s.json", EVEN)
    )
    assert all(np.allclose(store[n].boxes, r.boxes, atol=1e-3) for n, r in EVEN.items())


@settings(max_examples=200, deadline=None)
@given(height=st.integers(6, 20000), width=st.integers(6, 20000), seed=st.integers(0, 10**6))
def test_sizes_follow_from_boxes_in_pixels_and_in_fractions(height, width, seed) -> None:
    r = sample_regions(3, seed, size=(height, width))
    assert infer_size(r.boxes, spatial(r).astype(np.float32)) == (height, width)
    assert np.allclose(spatial_features(r), spatial(r), atol=1e-6)


def test_boxes_and_fractions_that_contradict_each_other_are_refused() -> None:
    r = sample_regions(5)
    fractions = spatial(r)
    fractions[2, 0] += 0.1
    with pytest.raises(InvalidImageError, match="contradict each other"):
        infer_size(r.boxes, fractions)
    assert infer_size(np.zeros((3, 4)), np.zeros((3, 6))) is None


def test_images_with_different_numbers_of_regions_do_not_fit_files_of_36(tmp_path) -> None:
    store = write_store(tmp_path / "a.h5", UNEVEN)
    with pytest.raises(
        InputError,
        match="images have 3 to 9 regions, but hengyuan_hdf5 needs the same number for all; use ban_hdf5",
    ):
        export_file("hengyuan_hdf5", store, tmp_path / "t.hdf5")
    assert os.listdir(tmp_path) == ["a.h5"]


def counting(path: Path, images: dict, most: int = 12, num_boxes: bool = False) -> Path:
    """Write a file like vqa-counting's preprocess-features.py, with two unused rows."""
    count = len(images) + 2
    with h5py.File(path, "w", libver="latest") as file:
        for name, shape in (("features", (count, 11, most)), ("boxes", (count, 4, most))):
            file.create_dataset(name, shape, "float32")
        for name in ("ids", "widths", "heights"):
            file.create_dataset(name, (count,), "int32")
        for n, (image, r) in enumerate(images.items()):
            file["ids"][n], file["widths"][n], file["heights"][n] = image, r.size[1], r.size[0]
            file["features"][n, :, : len(r)] = r.features.T
            file["boxes"][n, :, : len(r)] = r.boxes.T
        if num_boxes:
            file["num_boxes"] = [*(len(r) for r in images.values()), 0, 0]
    return path


@pytest.mark.parametrize("num_boxes", [True, False])
def test_files_of_vqa_counting_are_read_without_their_padding(num_boxes: bool, tmp_path) -> None:
    path = counting(tmp_path / "genome.h5", UNEVEN, num_boxes=num_boxes)
    store, result = import_file("vqa_counting_hdf5", path, tmp_path / "b.h5")
    assert store.image_ids == [5, 3, 9]
    assert all(identical(store[n], r, ()) for n, r in UNEVEN.items())
    assert set(result.dropped.values()) == {"has no regions"}
    assert len(result.dropped) == 2


def test_a_last_region_of_zeros_is_kept_if_the_count_is_known(tmp_path) -> None:
    r = sample_regions(3)
    features = r.features.copy()
    features[2] = 0
    zero = Regions(features, np.array([*r.boxes[:2], [0, 0, 0, 0]], np.float32), r.size)
    export_file("vqa_counting_hdf5", write_store(tmp_path / "a.h5", {1: zero, 2: zero}), tmp_path / "f.h5")
    assert len(import_file("vqa_counting_hdf5", tmp_path / "f.h5", tmp_path / "b.h5")[0][1]) == 3


def m2(path: Path, images: dict, filled: int = 0) -> Path:
    """Write a file like those of Meshed-Memory Transformer, with three datasets per image."""
    with h5py.File(path, "w") as file:
        for n, r in images.items():
            file[f"{n}_features"] = np.pad(r.features, ((0, filled), (0, 0)))
            file[f"{n}_boxes"] = np.pad(r.boxes, ((0, filled), (0, 0)))
            table = np.full((len(r), 4), 0.0001, np.float32)
            table[:, 0] = 0.9  # the background is more likely than any class
            table[np.arange(len(r)), r.class_id + 1] = r.class_score
            file[f"{n}_cls_prob"] = np.pad(table, ((0, filled), (0, 0)))
    return path


@pytest.mark.parametrize("filled", [0, 6])
def test_files_of_m2_are_read_without_background_and_padding(filled: int, tmp_path) -> None:
    sizes = write_sizes(tmp_path / "s.json", UNEVEN)
    path = m2(tmp_path / "coco_detections.hdf5", UNEVEN, filled)
    store, result = import_file("m2_hdf5", path, tmp_path / "b.h5", images=sizes)
    assert sorted(store.image_ids) == [3, 5, 9]
    assert all(identical(store[n], r, ("class_id", "class_score")) for n, r in UNEVEN.items())
    assert result.dropped == {}


def test_a_broken_image_of_m2_is_dropped_and_links_are_not_followed(tmp_path) -> None:
    path = m2(tmp_path / "m.hdf5", UNEVEN)
    with h5py.File(path, "r+") as file:
        del file["3_boxes"]
        file["3_boxes"] = h5py.ExternalLink("/etc/hostname", "/x")
        del file["5_features"]
        file["5_features"] = np.zeros((5, 2, 2), np.float32)
    result = import_file("m2_hdf5", path, tmp_path / "b.h5", images=write_sizes(tmp_path / "s.json", UNEVEN))[
        1
    ]
    assert "3_boxes is a link" in result.dropped["m.hdf5 3_features"]
    assert "5_features must have shape ('any', 'any'), got (5, 2, 2)" in result.dropped["m.hdf5 5_features"]


def nocaps(path: Path, images: dict, classes: bool = True, dense: bool = False) -> Path:
    """Write a file like nocaps' extract_features_vg.py, or like its older dense version."""
    ragged = h5py.special_dtype(vlen=np.float32)
    with h5py.File(path, "w") as file:
        file["image_id"] = np.array(list(images), np.int64)
        file["height"] = np.array([r.size[0] for r in images.values()], np.float32)
        file["width"] = np.array([r.size[1] for r in images.values()], np.float32)
        file["num_boxes"] = np.array([len(r) for r in images.values()])
        boxes = file.create_dataset("boxes", (len(images),), ragged)
        scores = file.create_dataset("scores", (len(images),), ragged)
        if dense:
            file["features"] = np.stack([r.features for r in images.values()])
        else:
            features = file.create_dataset("features", (len(images),), ragged)
        if classes:
            ids = file.create_dataset("classes", (len(images),), h5py.special_dtype(vlen=np.uint32))
        for n, r in enumerate(images.values()):
            boxes[n], scores[n] = r.boxes.reshape(-1), r.class_score
            if not dense:
                features[n] = r.features.reshape(-1)
            if classes:
                ids[n] = r.class_id + 1  # Open Images counts its categories from 1
    return path


def test_files_of_nocaps_are_read(tmp_path) -> None:
    path = nocaps(tmp_path / "n.h5", UNEVEN)
    store, result = import_file("nocaps_hdf5", path, tmp_path / "b.h5", source={"background": "first"})
    assert all(identical(store[n], r, ("class_id", "class_score")) for n, r in UNEVEN.items())
    assert (store.image_ids, result.dropped) == ([5, 3, 9], {})


def test_older_files_of_nocaps_are_dense_and_without_classes(tmp_path) -> None:
    path = nocaps(tmp_path / "n.h5", EVEN, classes=False, dense=True)
    store, _ = import_file("nocaps_hdf5", path, tmp_path / "b.h5")
    assert all(identical(store[n], r, ("class_score",)) for n, r in EVEN.items())
    assert "class_id" not in store[5].arrays()


def test_an_inconsistent_row_of_nocaps_is_dropped(tmp_path) -> None:
    path = nocaps(tmp_path / "n.h5", UNEVEN, classes=False)
    with h5py.File(path, "r+") as file:
        file["num_boxes"][0] = 4
        file["boxes"][1] = np.ones(7, np.float32)
    result = import_file("nocaps_hdf5", path, tmp_path / "b.h5")[1]
    assert result.dropped == {
        "n.h5 row 0": "55 feature values do not divide into 4 regions",
        "n.h5 row 1": "boxes must have 4 numbers per region, got 7 numbers",
    }


MAKERS = {
    "hengyuan_hdf5": lambda path: fixed(path, EVEN),
    "ban_hdf5": lambda path: adaptive(path, UNEVEN),
    "vqa_counting_hdf5": lambda path: counting(path, UNEVEN),
    "nocaps_hdf5": lambda path: nocaps(path, UNEVEN),
}
FEATURES = {"hengyuan_hdf5": "image_features", "ban_hdf5": "image_features"}


@pytest.mark.parametrize("name", sorted(MAKERS))
@pytest.mark.parametrize(
    "how", ["soft", "external", "storage", "virtual", "bomb", "group", "missing", "shape"]
)
def test_malicious_files_are_refused(name: str, how: str, tmp_path) -> None:
    path = MAKERS[name](tmp_path / "x.hdf5")
    dataset = FEATURES.get(name, "features")
    with h5py.File(path, "r+") as file:
        shape = file[dataset].shape
        del file[dataset]
        if how == "soft":
            file[dataset] = h5py.SoftLink("/boxes")
        elif how == "external":
            file[dataset] = h5py.ExternalLink("/etc/hostname", "/x")
        elif how == "storage":
            file.create_dataset(dataset, shape, "u1", external=[("/etc/hostname", 0, 10**6)])
        elif how == "virtual":
            layout = h5py.VirtualLayout(shape, "f4")
            layout[:] = h5py.VirtualSource("/nowhere.h5", "x", shape)
            file.create_virtual_dataset(dataset, layout)
        elif how == "bomb":
            plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plan.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
            space = h5py.h5s.create_simple((shape[0], *(10**5 for _ in shape[1:])))
            h5py.h5d.create(file.id, dataset.encode(), h5py.h5t.NATIVE_FLOAT, space, dcpl=plan)
        elif how == "group":
            file.create_group(dataset)
        elif how == "shape":
            file[dataset] = np.zeros((2, 2, 2, 2))
    with pytest.raises(InputError) as error:
        import_file(name, path, tmp_path / "b.h5")
    assert dataset in str(error.value)
    assert "\n" not in str(error.value)


def test_a_truncated_file_is_refused(tmp_path) -> None:
    path = fixed(tmp_path / "x.hdf5", EVEN)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match="x.hdf5: not a readable HDF5 file"):
        import_file("hengyuan_hdf5", path, tmp_path / "b.h5")


def test_a_damaged_compressed_chunk_affects_only_its_image(tmp_path) -> None:
    path = tmp_path / "x.h5"
    nocaps(path, EVEN, classes=False, dense=True)
    with h5py.File(path, "r+") as file:
        values = file["features"][:]
        del file["features"]
        file.create_dataset("features", data=values, chunks=(1, 4, 11), compression="gzip", fletcher32=True)
        place = file["features"].id.get_chunk_info(1).byte_offset
    content = bytearray(path.read_bytes())
    content[place + 20] ^= 255
    path.write_bytes(content)
    store, result = import_file("nocaps_hdf5", path, tmp_path / "b.h5")
    assert store.image_ids == [5, 9]
    assert "features cannot be read" in result.dropped["x.h5 row 1"]
