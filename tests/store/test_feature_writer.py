"""``FeatureWriter`` writes what was computed elsewhere, refuses what does not fit, and can be resumed."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from bua.errors import InputError
from bua.store import FeatureStore, FeatureWriter
from bua.store.check import check_store
from tests.helpers.parity import ROOT

BOXES = [[0, 0, 10, 5], [2, 2, 30, 20]]
COLUMNS = {"class_id": [0, 1], "class_score": [0.5, 1]}


def writer(out: Path, **options) -> FeatureWriter:
    return FeatureWriter(out, **({"detector": "mine", "class_names": ("cat", "dog")} | options))


def add(into: FeatureWriter, image_id=1, **changed) -> None:
    given = {"features": np.full((2, 3), 0.5), "boxes": BOXES, "size": (20, 30)}
    into.add(image_id, **(given | COLUMNS | changed))


@pytest.mark.parametrize("ids", [[3, 1, np.int64(2)], ["b", "a", "ü"]])
@pytest.mark.parametrize("shard_size", [1, 2, 2000])
def test_a_store_holds_what_was_added_in_its_order(ids, shard_size, tmp_path) -> None:
    with writer(tmp_path / "f.h5", configuration={"threshold": 0.2}, shard_size=shard_size) as into:
        for n, image_id in enumerate(ids):
            add(into, image_id, features=torch.full((2, 3), float(n)))
            assert image_id in into
        assert len(into) == 3
    store = FeatureStore(tmp_path / "f.h5")
    assert list(store.image_ids) == ids
    assert store[ids[2]].features.tolist() == [[2.0] * 3] * 2
    assert store[ids[0]].boxes.tolist() == BOXES
    assert store[ids[0]].class_score.tolist() == [0.5, 1]
    assert store.metadata.identity["configuration"] == {"threshold": 0.2}
    assert check_store(tmp_path / "f.h5") == []
    assert [path.name for path in tmp_path.iterdir()] == ["f.h5"]


def test_an_interrupted_program_goes_on_and_ends_in_the_same_contents(tmp_path) -> None:
    def program(stop: int | None) -> None:
        with writer(tmp_path / "f.h5", shard_size=2) as into:
            for n in range(7):
                if n == stop:
                    raise KeyboardInterrupt
                if n not in into:
                    computed.append(n)
                    add(into, n, features=np.full((2, 3), n))

    computed: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        program(5)
    assert not (tmp_path / "f.h5").exists()
    program(None)
    assert computed == [0, 1, 2, 3, 4, 4, 5, 6]
    store = FeatureStore(tmp_path / "f.h5")
    assert list(store.image_ids) == list(range(7))
    assert all(store[n].features[0, 0] == n for n in range(7))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"features": np.zeros(2)}, "features have 1 dimensions, not 2"),
        ({"features": np.zeros((3, 3))}, "3 features for 2 boxes"),
        ({"features": [["a"] * 3] * 2}, "features must be numbers"),
        ({"features": [[1], [2, 3]]}, "features are not an array"),
        ({"features": np.full((2, 3), np.nan)}, "features are not all finite"),
        (
            {"features": np.full((2, 3), 1e6)},
            "features beyond 65504 do not fit float16; give dtype='float32'",
        ),
        ({"boxes": np.zeros((2, 5))}, r"boxes are (2, 5), not (2, 4)"),
        (
            {"boxes": [[0, 0, 10, 5], [0, 0, 40, 5]]},
            "box 1 is [0.0, 0.0, 40.0, 5.0], must be x1 y1 x2 y2 in an",
        ),
        ({"boxes": [[9, 0, 3, 5], [0, 0, 4, 5]]}, "box 0 is [9.0"),
        ({"boxes": np.zeros((0, 4)), "features": np.zeros((0, 3))}, "has no regions"),
        ({"size": (20.5, 30)}, "must be height and width in pixels"),
        ({"size": 20}, "must be height and width in pixels"),
        ({"class_id": [0.0, 1.0]}, "class_id must be integers, got float64"),
        ({"class_id": [0, 2]}, "class_id must be between 0 and 1"),
        ({"class_score": [0.5, 1.5]}, "class_score must be between 0 and 1"),
        ({"class_score": [0.5]}, "1 class_score for 2 boxes"),
    ],
)
def test_what_a_store_cannot_hold_is_refused_with_the_image(changed, message, tmp_path) -> None:
    with pytest.raises(InputError, match="image 7") as error, writer(tmp_path / "f.h5") as into:
        add(into, 7, **changed)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"image_id": 1}, "image 1 is duplicated"),
        ({"image_id": "a"}, "ids must be all integers or all texts, got 1 and 'a'"),
        ({"image_id": 2.5}, "image id 2.5 must be an integer or a text"),
        ({"image_id": 2, "features": np.zeros((2, 4))}, "image 2: features have size 4, those of image 1 3"),
        ({"image_id": 2, "class_score": None}, "image 2: has features, boxes, class_id, but image 1 has"),
    ],
)
@pytest.mark.parametrize("shard_size", [1, 10])
def test_images_that_do_not_fit_the_first_are_refused(second, message, shard_size, tmp_path) -> None:
    with writer(tmp_path / "f.h5", shard_size=shard_size) as into:
        add(into)
        with pytest.raises(InputError) as error:
            add(into, **second)
    assert message in str(error.value)
    assert list(FeatureStore(tmp_path / "f.h5").image_ids) == [1]


def test_a_file_that_exists_and_options_that_do_not_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="there are no images to write"), writer(tmp_path / "f.h5"):
        pass
    for options, message in (({"dtype": "int8"}, "dtype=int8"), ({"shard_size": 0}, "shard_size=0")):
        with pytest.raises(InputError, match=message):
            writer(tmp_path / "g.h5", **options)
    (tmp_path / "f.h5").touch()
    with pytest.raises(InputError, match="f.h5: already exists; delete it or choose another name"):
        writer(tmp_path / "f.h5")


def test_shards_of_another_detector_are_not_continued(tmp_path) -> None:
    into = writer(tmp_path / "f.h5", shard_size=1)
    into.__enter__()
    add(into)
    into.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    with pytest.raises(InputError, match="was created with another detector"):
        writer(tmp_path / "f.h5", detector="other").__enter__()


def test_the_example_of_the_documentation_runs(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/feature_store.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "docs/feature_store.md", "exec"), {})
    assert len(FeatureStore("mine.h5")) == 3
