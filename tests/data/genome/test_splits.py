"""Splits are reproducible, cover every image once and never train on images of the caption evaluation."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.data.genome.source import GenomeImage
from bua.data.genome.splits import KarpathySplits, count_origins, draw_splits, read_karpathy
from bua.errors import InputError

#: Twelve COCO images, ten of which are in Karpathy's file; two Visual Genome images may have the same one.
COCO = st.one_of(st.none(), st.integers(1, 12))
SPLIT_OF = st.fixed_dictionaries(dict.fromkeys(range(1, 11), st.sampled_from(["train", "val", "test"])))


def make_images(coco_ids) -> dict[int, GenomeImage]:
    return {n * 7 + 3: GenomeImage(n * 7 + 3, "a.jpg", 9, 9, coco_id) for n, coco_id in enumerate(coco_ids)}


@given(
    coco_ids=st.lists(COCO, min_size=1, max_size=25),
    split_of=SPLIT_OF,
    val=st.integers(0, 7),
    test=st.integers(0, 7),
    seed=st.integers(0, 3),
)
def test_karpathys_val_and_test_are_never_trained_on_and_every_image_is_in_one_split(
    coco_ids, split_of, val, test, seed
) -> None:
    images = make_images(coco_ids)
    karpathy = KarpathySplits(split_of, dict.fromkeys(split_of, "val2014"))
    fixed = {name: sum(split_of.get(c) == name for c in coco_ids) for name in ("val", "test")}
    possible = max(val, fixed["val"]) + max(test, fixed["test"]) < len(coco_ids) and any(coco_ids)
    if not possible:
        with pytest.raises(InputError):
            draw_splits(images, karpathy, val=val, test=test, seed=seed)
        return
    splits = draw_splits(images, karpathy, val=val, test=test, seed=seed)
    assert sorted(n for ids in splits.values() for n in ids) == sorted(images)
    for name, ids in splits.items():
        origins = {split_of.get(images[n].coco_id) for n in ids}
        assert origins <= {"train": {"train", None}}.get(name, {name, "train", None})
    for name, size in (("val", val), ("test", test)):
        assert len(splits[name]) == max(size, fixed[name])
    reversed_images = dict(reversed(images.items()))
    assert draw_splits(reversed_images, karpathy, val=val, test=test, seed=seed) == splits


def test_karpathys_train_is_drawn_only_when_no_others_are_left() -> None:
    images = make_images([1, 2, 3, 4, None, None, None])
    karpathy = KarpathySplits(dict.fromkeys([1, 2, 3, 4], "train") | {9: "val"}, {})
    drawn = draw_splits(images, karpathy, val=1, test=2, seed=0)
    assert all(images[n].coco_id is None for n in drawn["val"] + drawn["test"])
    drawn = draw_splits(images, karpathy, val=1, test=4, seed=0)
    assert sum(images[n].coco_id is None for n in drawn["val"] + drawn["test"]) == 3


def test_the_draw_depends_on_the_seed_and_without_karpathy_includes_all_images() -> None:
    images = make_images([None] * 30)
    first, repeated, second = (draw_splits(images, None, val=5, test=5, seed=s) for s in (1, 1, 2))
    assert first == repeated != second
    assert {name: len(ids) for name, ids in first.items()} == {"train": 20, "val": 5, "test": 5}


def test_impossible_splits_are_refused() -> None:
    with pytest.raises(InputError, match="val=2 test=1: none of the 3 images is left for training"):
        draw_splits(make_images([None] * 3), None, val=2, test=1, seed=0)
    karpathy = KarpathySplits({1: "val"}, {})
    with pytest.raises(InputError, match="no image has a coco_id, so captions=... cannot keep any out"):
        draw_splits(make_images([None] * 3), karpathy, val=1, test=1, seed=0)


def test_images_of_each_coco_folder_are_counted() -> None:
    images = make_images([1, 2, 3, None])
    karpathy = KarpathySplits({1: "train", 2: "train"}, {1: "val2014", 2: "train2014"})
    splits = {"train": [3, 10, 17, 24], "val": [], "test": []}
    expected = {"no coco_id": 1, "not Karpathy's": 1, "train2014": 1, "val2014": 1}
    assert count_origins(splits, images, karpathy) == {"train": expected, "val": {}, "test": {}}
    assert count_origins(splits, images, None)["train"] == {"coco_id": 3, "no coco_id": 1}


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
        ([{"split": "val", "filename": "36979.jpg"}], r"images\[0\]: has no cocoid"),
        ([entry("7", "val")], "cocoid is '7', expected an integer"),
        ([entry(7, "dev")], "image 7: split is 'dev', expected one of train, restval, val, test"),
        ([entry(7, "test"), entry(8, "train")], "split val has no images"),
        ([], "split val has no images"),
    ],
)
def test_a_file_that_is_not_karpathys_is_named(images, message, tmp_path) -> None:
    (tmp_path / "k.json").write_text(json.dumps({"images": images}))
    with pytest.raises(InputError, match=f"k.json: .*{message}"):
        read_karpathy(tmp_path / "k.json")
