"""Arrays of one's own are imported under the names that ``keys=`` gives them."""

from pathlib import Path

import numpy as np
import pytest

from bua.store import FeatureStore
from tests.helpers.commands import run_error, run_ok
from tests.helpers.foreign_formats import sample_regions


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder of two images whose arrays have names of their own, the second one transposed."""
    (tmp_path / "own").mkdir()
    for n in (1, 2):
        regions = sample_regions(4, n)
        arrays = {
            "x": regions.features if n == 1 else regions.features.T,
            "y": regions.boxes,
            "c": regions.class_id,
        }
        np.savez(tmp_path / "own" / f"{n}.npz", **arrays, h=37, w=[53], other=np.zeros(3))
    return tmp_path


KEYS = "keys={features: x, boxes: y, height: h, width: w, class_id: c}"


def run_import(folder: Path, *words: str) -> list[str]:
    return ["features", "import", "format=npz", f"source={folder}/own", f"out={folder}/f.h5", *words]


def test_arrays_have_the_roles_that_keys_give_them(folder) -> None:
    run_ok(*run_import(folder, KEYS))
    store = FeatureStore(folder / "f.h5")
    assert store.image_ids == [1, 2]
    for n in (1, 2):
        expected = sample_regions(4, n)
        for name in ("features", "boxes", "class_id"):
            assert np.array_equal(getattr(store[n], name), getattr(expected, name))
        assert store[n].size == (37, 53)
    assert store.metadata.origin["keys"] == "boxes: y, class_id: c, features: x, height: h, width: w"


def test_a_single_file_is_one_image_and_names_of_the_store_need_no_keys(folder) -> None:
    regions = sample_regions(3)
    np.savez(folder / "42.npz", features=regions.features, boxes=regions.boxes, size=regions.size)
    run_ok("features", "import", "format=npz", f"source={folder}/42.npz", f"out={folder}/one.h5")
    assert np.array_equal(FeatureStore(folder / "one.h5")[42].features, regions.features)


def test_an_import_with_other_keys_is_another_import(folder, capfd) -> None:
    run_ok(*run_import(folder, KEYS))
    capfd.readouterr()
    assert "was not imported from this source" in run_error(
        capfd, *run_import(folder, KEYS.replace(", class_id: c", ""))
    )


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            "keys=null",
            "array features is missing; name that of the features in keys='{features: NAME}', one of x, y",
        ),
        (
            "keys={features: x, boxes: z}",
            "array z is missing; name that of the boxes in keys='{boxes: NAME}'",
        ),
        ("keys={feature: x}", "keys={feature: x}: must be one of features, boxes, size, height"),
        ("keys=x", "keys=x: must name arrays, such as '{features: x, boxes: y}'"),
        ("keys={features: 3}", "must name arrays"),
        ("keys={features: x, boxes: y, size: h}", "h must be height and width, got shape ()"),
        ("keys={features: x, boxes: y}", "image size is missing"),
    ],
)
def test_wrong_keys_are_reported_in_one_line(keys: str, message: str, folder, capfd) -> None:
    assert message in run_error(capfd, *run_import(folder, keys))
    assert not (folder / "f.h5").exists()


def test_formats_with_fixed_names_refuse_keys(folder, capfd) -> None:
    words = ["features", "import", "format=mil_npz", f"source={folder}/own", f"out={folder}/f.h5", KEYS]
    assert "format=mil_npz has fixed names; only format=npz takes others" in run_error(capfd, *words)
