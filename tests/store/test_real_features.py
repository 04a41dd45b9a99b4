"""The original Caffe features of ten COCO photos, in LXMERT's format."""

import base64
import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from bua.store import FeatureStore, Regions
from bua.store.check import check_store
from bua.store.formats import FORMATS
from bua.store.formats.image_sizes import ImageSizes
from bua.store.formats.import_store import ImportOptions, import_store
from bua.store.formats.source import Source
from bua.text.names import read_names
from tests.helpers.foreign_formats import export_file, identical

FIELDS = ["img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf", "num_boxes"]
FIELDS += ["boxes", "features"]


@pytest.fixture(scope="module")
def folder(shared) -> Path:
    found = shared / "data" / "butd_features_mini"
    if not found.is_dir():
        pytest.skip("the real features are not available")
    return found


def source(folder: Path, path: Path) -> Source:
    classes = read_names(folder / "objects_vocab.txt", "label")
    attributes = read_names(folder / "attributes_vocab.txt", "attribute")
    return Source(path, class_names=classes, attribute_names=attributes)


@pytest.fixture(scope="module")
def store(folder, tmp_path_factory) -> FeatureStore:
    out = tmp_path_factory.mktemp("real") / "f.h5"
    path = folder / "train2014_obj36_10images.tsv"
    result = import_store("lxmert_tsv", source(folder, path), out, ImportOptions(), print)
    assert (result.images, result.regions, result.repaired, result.dropped) == (10, 360, {}, {})
    return FeatureStore(out)


def rows(folder: Path) -> dict[int, dict[str, str]]:
    """Read the file with csv, independently of the code under test."""
    csv.field_size_limit(sys.maxsize)
    with open(folder / "train2014_obj36_10images.tsv") as file:
        return {int(row["img_id"][-12:]): row for row in csv.DictReader(file, FIELDS, delimiter="\t")}


def test_features_are_bitwise_those_that_a_plain_loop_decodes(folder, store) -> None:
    found = rows(folder)
    assert list(found) == store.image_ids
    assert len(found) == 10
    kinds = {"objects_id": "i8", "objects_conf": "f4", "attrs_id": "i8", "attrs_conf": "f4"}
    names = dict(zip(kinds, ("class_id", "class_score", "attribute_id", "attribute_score"), strict=True))
    for image, row in found.items():
        regions = store[image]
        assert regions.size == (int(row["img_h"]), int(row["img_w"]))
        assert regions.features.shape == (36, 2048)
        for field in ("features", "boxes"):
            assert regions.arrays()[field].tobytes() == base64.b64decode(row[field])
        for field, name in names.items():
            values = np.frombuffer(base64.b64decode(row[field]), kinds[field])
            assert np.array_equal(regions.arrays()[name], values)


def test_classes_are_named_by_the_vocabulary_of_the_file(folder, store) -> None:
    assert (len(store.metadata.class_names), len(store.metadata.attribute_names)) == (1600, 400)
    best = {
        image: store.metadata.class_names[store[image].class_id[store[image].class_score.argmax()]]
        for image in store
    }
    assert best[84002] in store.metadata.class_names
    assert len(set(best.values())) >= 4


def test_boxes_are_inside_their_images(folder, store) -> None:
    sizes = ImageSizes(folder / "images")
    for image in store:
        height, width = sizes.find(image)
        assert store[image].size == (height, width)
        x1, y1, x2, y2 = store[image].boxes.T
        assert (x1 >= 0).all()
        assert (y1 >= 0).all()
        assert (x2 <= width).all()
        assert (y2 <= height).all()
        assert (x2 > x1).all()
        assert (y2 > y1).all()
    assert check_store(store.path) == []


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"grid_feats_pth"}))
def test_real_features_are_bitwise_identical_after_every_format(name: str, folder, store, tmp_path) -> None:
    export_file(name, store.path, tmp_path / "foreign.tsv")
    options = ImportOptions(images=None if FORMATS[name].has_sizes else folder / "images")
    result = import_store(name, source(folder, tmp_path / "foreign.tsv"), tmp_path / "b.h5", options, print)
    back = FeatureStore(tmp_path / "b.h5")
    assert (result.images, result.repaired, result.dropped) == (10, {}, {})
    assert set(back.image_ids) == set(store.image_ids)
    assert all(identical(back[image], store[image], FORMATS[name].columns) for image in store)


def test_real_features_on_a_grid_are_bitwise_identical_after_export_and_import(
    store, folder, tmp_path
) -> None:
    from tests.helpers.foreign_formats import METADATA, write_store

    images = {}
    for image in store:
        height, width = store[image].size
        x, y = np.linspace(0, width, 10).astype("f4"), np.linspace(0, height, 5).astype("f4")
        boxes = [[x[c], y[r], x[c + 1], y[r + 1]] for r in range(4) for c in range(9)]
        images[image] = Regions(np.array(store[image].features), np.array(boxes, "f4"), (height, width))
    path = write_store(tmp_path / "a.h5", images, METADATA)
    export_file("grid_feats_pth", path, tmp_path / "grids")
    grids = Source(tmp_path / "grids")
    import_store("grid_feats_pth", grids, tmp_path / "b.h5", ImportOptions(images=folder / "images"), print)
    back = FeatureStore(tmp_path / "b.h5")
    assert all(identical(back[image], images[image]) for image in images)
