"""No image of caption evaluation is ever trained on; every image is in one split; always the same."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.data.genome.source import Picture
from bua.data.genome.splits import Karpathy, draw_splits, origins, read_karpathy
from bua.errors import InputError

#: Twelve photographs of COCO, of which Karpathy has ten; images of Visual Genome may share one.
COCO = st.one_of(st.none(), st.integers(1, 12))
PLACES = st.fixed_dictionaries(dict.fromkeys(range(1, 11), st.sampled_from(["train", "val", "test"])))


def pictures(coco_ids) -> dict[int, Picture]:
    return {n * 7 + 3: Picture(n * 7 + 3, "a.jpg", 9, 9, coco_id) for n, coco_id in enumerate(coco_ids)}


@given(
    coco_ids=st.lists(COCO, min_size=1, max_size=25),
    places=PLACES,
    val=st.integers(0, 7),
    test=st.integers(0, 7),
    seed=st.integers(0, 3),
)
def test_karpathys_val_and_test_are_never_trained_on_and_every_image_is_in_one_split(
    coco_ids, places, val, test, seed
) -> None:
    images = pictures(coco_ids)
    karpathy = Karpathy(places, dict.fromkeys(places, "val2014"))
    own = {name: sum(places.get(c) == name for c in coco_ids) for name in ("val", "test")}
    possible = max(val, own["val"]) + max(test, own["test"]) < len(coco_ids) and any(coco_ids)
    if not possible:
        with pytest.raises(InputError):
            draw_splits(images, karpathy, val=val, test=test, seed=seed)
        return
    splits = draw_splits(images, karpathy, val=val, test=test, seed=seed)
    assert sorted(n for ids in splits.values() for n in ids) == sorted(images)
    for name, ids in splits.items():
        meant = {places.get(images[n].coco_id) for n in ids}
        assert meant <= {"train": {"train", None}}.get(name, {name, "train", None})
    for name, size in (("val", val), ("test", test)):
        assert len(splits[name]) == max(size, own[name])
    turned = dict(reversed(images.items()))
    assert draw_splits(turned, karpathy, val=val, test=test, seed=seed) == splits


def test_karpathys_train_is_drawn_only_when_no_others_are_left() -> None:
    images = pictures([1, 2, 3, 4, None, None, None])
    karpathy = Karpathy(dict.fromkeys([1, 2, 3, 4], "train") | {9: "val"}, {})
    drawn = draw_splits(images, karpathy, val=1, test=2, seed=0)
    assert all(images[n].coco_id is None for n in drawn["val"] + drawn["test"])
    drawn = draw_splits(images, karpathy, val=1, test=4, seed=0)
    assert sum(images[n].coco_id is None for n in drawn["val"] + drawn["test"]) == 3


def test_seeds_draw_differently_and_one_without_karpathy_from_all() -> None:
    images = pictures([None] * 30)
    first, again, second = (draw_splits(images, None, val=5, test=5, seed=s) for s in (1, 1, 2))
    assert first == again != second
    assert {name: len(ids) for name, ids in first.items()} == {"train": 20, "val": 5, "test": 5}


def test_what_cannot_be_divided_is_named() -> None:
    with pytest.raises(InputError, match="val=2 test=1: of 3 images none is left to train on"):
        draw_splits(pictures([None] * 3), None, val=2, test=1, seed=0)
    karpathy = Karpathy({1: "val"}, {})
    with pytest.raises(InputError, match="no image has a coco_id, so karpathy=... can keep none"):
        draw_splits(pictures([None] * 3), karpathy, val=1, test=1, seed=0)


def test_images_of_each_coco_folder_are_counted() -> None:
    images = pictures([1, 2, 3, None])
    karpathy = Karpathy({1: "train", 2: "train"}, {1: "val2014", 2: "train2014"})
    splits = {"train": [3, 10, 17, 24], "val": [], "test": []}
    counted = {"no coco_id": 1, "not Karpathy's": 1, "train2014": 1, "val2014": 1}
    assert origins(splits, images, karpathy) == {"train": counted, "val": {}, "test": {}}
    assert origins(splits, images, None)["train"] == {"coco_id": 3, "no coco_id": 1}


def entry(cocoid, split: str, **more) -> dict:
    return {"cocoid": cocoid, "split": split, "filepath": "val2014"} | more


def test_karpathys_file_is_read_and_restval_is_train(tmp_path) -> None:
    images = [entry(n, split) for n, split in enumerate(["train", "restval", "val", "test"])]
    images[0]["filepath"] = "train2014"
    (tmp_path / "k.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
    karpathy = read_karpathy(tmp_path / "k.json")
    assert karpathy.split == {0: "train", 1: "train", 2: "val", 3: "test"}
    assert karpathy.folder == {0: "train2014", 1: "val2014", 2: "val2014", 3: "val2014"}


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([{"split": "val", "filename": "36979.jpg"}], r"images\[0\]: cocoid is None, a whole number"),
        ([entry("7", "val")], "cocoid is '7', a whole number is needed"),
        ([entry(7, "dev")], "image 7: split is 'dev', one of train, restval, val, test is needed"),
        ([entry(7, "test"), entry(8, "train")], "it has no image of split val"),
        ([], "it has no image of split val"),
    ],
)
def test_a_file_that_is_not_karpathys_is_named(images, message, tmp_path) -> None:
    (tmp_path / "k.json").write_text(json.dumps({"images": images}))
    with pytest.raises(InputError, match=f"k.json: .*{message}"):
        read_karpathy(tmp_path / "k.json")
