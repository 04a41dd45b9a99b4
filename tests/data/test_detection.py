"""Detection examples follow their file, count what is left out, and are flipped reproducibly."""

import json
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bua.data.detection.datamodule import DetectionDataModule
from bua.data.detection.dataset import DetectionDataset
from bua.errors import InputError
from tests.helpers.data import first_batch

IMAGE = {"id": 7, "file_name": "a.jpg", "width": 20, "height": 10}
BOX = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]}


def instances(*annotations: dict, images=(IMAGE,)) -> dict:
    names = {"categories": [{"id": 3, "name": "cat"}], "attributes": [{"id": 4, "name": "red"}]}
    return {"images": list(images), "annotations": list(annotations), **names}


def load(folder: Path, content: dict, **options) -> DetectionDataset:
    (folder / "i.json").write_text(json.dumps(content))
    return DetectionDataset(folder / "i.json", folder, flip=False, **options)


def load_changed(scenes, tmp_path, number: int, change: dict, **options) -> DetectionDataset:
    """Load the val scenes with one annotation changed."""
    content = json.loads((scenes / "instances_val.json").read_text())
    content["annotations"][number] |= change
    (tmp_path / "i.json").write_text(json.dumps(content))
    return DetectionDataset(tmp_path / "i.json", scenes / "images", flip=False, **options)


def test_real_coco_images_load_with_their_boxes(shared) -> None:
    folder = shared / "data/coco_mini"
    data = DetectionDataset(folder / "instances.json", folder / "images", flip=False)
    content = json.loads((folder / "instances.json").read_text())
    single = [a for a in content["annotations"] if not a["iscrowd"]]
    assert (len(content["images"]), len(content["annotations"])) == (103, 967)
    assert data.changes["crowds"] == 14
    assert data.changes["boxes outside their image"] == 0
    assert len(data) + data.changes["images without boxes"] == 103
    assert len(data.classes) == 80
    assert data.attributes == ()
    assert sum(len(data[n][1]["labels"]) for n in range(len(data))) == len(single)
    names = {c["id"]: c["name"] for c in content["categories"]}
    for n in range(0, len(data), 10):
        pixels, target, image_id = data[n]
        own = [a for a in single if a["image_id"] == image_id]
        assert [data.classes[label - 1] for label in target["labels"]] == [
            names[a["category_id"]] for a in own
        ]
        boxes = np.array([a["bbox"] for a in own])
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(target["boxes"], boxes, atol=0.02)
        assert target["attributes"].shape == (len(own), 1)
        assert pixels.shape[0] == 3
        assert pixels.dtype == torch.uint8


def test_crowds_and_images_without_boxes_are_left_out_and_counted(tmp_path) -> None:
    images = [IMAGE, IMAGE | {"id": 8}, IMAGE | {"id": 9}]
    crowd = BOX | {"id": 2, "image_id": 8, "iscrowd": 1}
    data = load(tmp_path, instances(BOX | {"iscrowd": 0}, crowd, images=images))
    assert [image.image_id for image in data.images] == [7]
    assert data.changes == {
        "boxes outside their image": 0,
        "boxes clipped to their image": 0,
        "images without boxes": 2,
        "crowds": 1,
    }


SIDES = st.tuples(*[st.integers(-30, 30)] * 4).map(list)


@given(boxes=st.lists(SIDES, min_size=1, max_size=8))
def test_boxes_are_clipped_or_left_out_and_counted(boxes, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("i")
    annotations = [BOX | {"id": n, "bbox": box} for n, box in enumerate(boxes)]
    expected = []
    for x, y, w, h in boxes:
        clipped = [min(max(x, 0), 20), min(max(y, 0), 10), min(max(x + w, 0), 20), min(max(y + h, 0), 10)]
        if clipped[2] > clipped[0] and clipped[3] > clipped[1]:
            expected.append((clipped, clipped != [x, y, x + w, y + h]))
    if not expected:
        with pytest.raises(InputError, match="no image has a box"):
            load(folder, instances(*annotations))
        return
    data = load(folder, instances(*annotations))
    assert data._target(slice(0, len(expected)))["boxes"].tolist() == [clipped for clipped, _ in expected]
    assert data.changes["boxes outside their image"] == len(boxes) - len(expected)
    assert data.changes["boxes clipped to their image"] == sum(moved for _, moved in expected)


def test_rounding_to_hundredths_of_a_pixel_is_tolerated(tmp_path) -> None:
    data = load(tmp_path, instances(BOX | {"bbox": [10.5, 2, 9.51, 3]}))
    assert data.changes["boxes clipped to their image"] == 0
    assert data._target(slice(0, 1))["boxes"].tolist() == [[10.5, 2, 20, 5]]


def test_no_attributes_are_distinguished_from_unknown_attributes(tmp_path) -> None:
    annotations = [BOX | {"attribute_ids": [4]}, BOX | {"id": 2, "attribute_ids": []}, BOX | {"id": 3}]
    data = load(tmp_path, instances(*annotations))
    assert data._target(slice(0, 3))["attributes"].tolist() == [[False, True], [True, False], [False] * 2]


def test_examples_keep_the_order_of_images_and_boxes(tmp_path) -> None:
    images = [IMAGE | {"id": 9}, IMAGE, IMAGE | {"id": 8}]
    annotations = [
        BOX | {"id": n, "image_id": (7, 8, 9)[n % 3], "bbox": [n, 1, 2, 2], "attribute_ids": [4] * (n % 2)}
        for n in range(8)
    ]
    data = load(tmp_path, instances(*annotations, images=images))
    assert [image.image_id for image in data.images] == [9, 7, 8]
    targets = [data._target(rows) for rows in data._rows]
    assert [t["boxes"][:, 0].tolist() for t in targets] == [[2, 5], [0, 3, 6], [1, 4, 7]]
    has = [[(2, 5)[n] % 2 == 1 for n in range(2)], [False, True, False], [True, False, True]]
    assert [t["attributes"][:, 1].tolist() for t in targets] == has


def test_images_of_another_size_than_annotated_are_reported(scenes, tmp_path) -> None:
    content = json.loads((scenes / "instances_val.json").read_text())
    content["images"][0] |= {"width": 200}
    (tmp_path / "i.json").write_text(json.dumps(content))
    data = DetectionDataset(tmp_path / "i.json", scenes / "images", flip=False)
    with pytest.raises(InputError, match=r"2000000.jpg: has 160 x 160 pixels, but .*i.json says 200 x 160"):
        data[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category_id": 99}, "category 99 is not in categories"),
        ({"image_id": 99}, "refers to image 99, which is not in images"),
        ({"attribute_ids": [77]}, "attribute 77 is not in attributes"),
        ({"attribute_ids": [[1]]}, r"attribute_ids\[0\] is \[1\], expected an integer or a string"),
        ({"attribute_ids": 1}, "attribute_ids is 1, expected a list"),
        ({"bbox": [1, 2]}, r"bbox is \[1, 2\], expected a list of length 4"),
        ({"bbox": [1, 2, "x", 4]}, r"bbox\[2\] is 'x', expected a number"),
        ({"bbox": [1, 2, float("nan"), 4]}, r"bbox\[2\] is nan, expected a number >"),
        ({"bbox": [1, 2, 10**400, 4]}, r"bbox\[2\] is 10+: number out of range"),
    ],
)
def test_broken_boxes_are_reported_with_their_annotation(change, message, scenes, tmp_path) -> None:
    with pytest.raises(InputError, match=rf"i.json: annotations?(\[\d+\] \(id)? \d+\)?:? {message}"):
        load_changed(scenes, tmp_path, 2, change)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (instances(), "no image has a box"),
        (instances(BOX, images=[IMAGE, IMAGE]), "image 7 is duplicated in images"),
        (instances(BOX, images=[{"id": 7, "file_name": "a"}]), r"images\[0\] \(id 7\): has no width"),
        (instances(BOX, images=[IMAGE | {"id": "7"}]), "id is '7', expected an integer"),
        (
            instances(BOX) | {"categories": [{"id": 3, "name": "a"}, {"id": 3, "name": "b"}]},
            "categories: id 3 has two names, 'a' and 'b'",
        ),
    ],
)
def test_broken_instances_are_reported(content, message, tmp_path) -> None:
    with pytest.raises(InputError, match=f"i.json: .*{message}"):
        load(tmp_path, content)


def test_classes_are_numbered_by_name(scenes, tmp_path) -> None:
    content = json.loads((scenes / "instances_val.json").read_text())
    content["categories"].reverse()
    (tmp_path / "i.json").write_text(json.dumps(content))
    unflipped = DetectionDataset(scenes / "instances_val.json", scenes / "images", flip=False)
    names = unflipped.classes, unflipped.attributes
    is_flipped = DetectionDataset(tmp_path / "i.json", scenes / "images", flip=False, names=names)
    assert is_flipped[0][1]["labels"].tolist() == unflipped[0][1]["labels"].tolist()
    with pytest.raises(InputError, match="category 'tree' is not one of those to train on"):
        DetectionDataset(tmp_path / "i.json", scenes / "images", flip=False, names=(["ball"], names[1]))


def test_boxes_are_flipped_with_their_image(scenes) -> None:
    flipped = DetectionDataset(scenes / "instances_val.json", scenes / "images", flip=True)
    unflipped = DetectionDataset(scenes / "instances_val.json", scenes / "images", flip=False)
    seen = set()
    for n in range(len(unflipped)):
        (a, target_a, _), (b, target_b, _) = unflipped[n], flipped[n]
        is_flipped = not torch.equal(a, b)
        assert is_flipped == flipped.is_flipped(n)
        seen.add(is_flipped)
        boxes = target_a["boxes"]
        if is_flipped:
            assert torch.equal(a.flip(-1), b)
            boxes = torch.stack([160 - boxes[:, 2], boxes[:, 1], 160 - boxes[:, 0], boxes[:, 3]], 1)
        torch.testing.assert_close(boxes, target_b["boxes"])
        assert target_a["attributes"].sum() == 3 * len(boxes)
    assert seen == {True, False}


def test_flips_depend_on_seed_epoch_and_index_alone(scenes) -> None:
    def flips(seed: int, epoch: int) -> tuple[bool, ...]:
        data = DetectionDataset(scenes / "instances_train.json", scenes / "images", flip=True, seed=seed)
        data.set_sampler(SimpleNamespace(epoch=epoch))
        torch.manual_seed(seed + epoch)
        return tuple(data.is_flipped(n) for n in range(24))

    drawn = {(seed, epoch): flips(seed, epoch) for seed in range(3) for epoch in range(3)}
    assert len(set(drawn.values())) == 9
    assert drawn == {key: flips(*key) for key in drawn}
    assert 0.4 < np.mean([*drawn.values()]) < 0.6


def detection_data(scenes, **overrides) -> DetectionDataModule:
    files = {"train": str(scenes / "instances_train.json"), "val": str(scenes / "instances_val.json")}
    options = {"images": str(scenes / "images"), **files, "max_errors": None}
    options |= {"batch_size": 4, "num_workers": 0, "seed": 0}
    return DetectionDataModule(**(options | overrides))


def epoch_examples(loader, epoch: int) -> list[tuple[int, float]]:
    """Return the id and the sum of the left column of every image of an epoch."""
    loader.sampler.set_epoch(epoch)
    return [(image_id, float(pixels[..., 0].sum())) for batch in loader for pixels, _, image_id in batch]


def test_batches_do_not_depend_on_workers_or_resuming(scenes) -> None:
    loader = detection_data(scenes).train_dataloader()
    first, second = epoch_examples(loader, 0), epoch_examples(loader, 1)
    assert dict(first) != dict(second)
    with_workers = detection_data(scenes, num_workers=2).train_dataloader()
    assert [epoch_examples(with_workers, epoch) for epoch in (0, 1)] == [first, second]
    resumed = detection_data(scenes, num_workers=1).train_dataloader()
    resumed.skip = 2
    assert epoch_examples(resumed, 1) == second[8:]


def test_detection_batches_are_lists_of_examples(scenes) -> None:
    data = detection_data(scenes)
    batch = first_batch(data, "train")
    assert [image.shape for image, *_ in batch] == [(3, 160, 160)] * 4
    assert len(data.sizes["classes"]) == 14


def test_omissions_are_logged(scenes, tmp_path, caplog) -> None:
    load_changed(scenes, tmp_path, 0, {"iscrowd": 1})
    with caplog.at_level(logging.INFO):
        detection_data(scenes, train=str(tmp_path / "i.json"))
    assert "i.json: 8 images with boxes; left out or changed: 1 crowds" in caplog.text
    assert "instances_val" not in caplog.text


def test_crowds_and_empty_images_are_kept_for_evaluation(scenes, tmp_path) -> None:
    load_changed(scenes, tmp_path, 0, {"iscrowd": 1})
    content = json.loads((tmp_path / "i.json").read_text())
    last = content["images"][-1]["id"]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != last]
    (tmp_path / "i.json").write_text(json.dumps(content))
    train, val = (
        DetectionDataset(tmp_path / "i.json", scenes / "images", flip=False, keep_all=keep_all)
        for keep_all in (False, True)
    )
    assert (len(train), len(val)) == (7, 8)
    assert sum(int(val[n][1]["crowd"].sum()) for n in range(8)) == 1
    assert not any(bool(train[n][1]["crowd"].any()) for n in range(7))
    assert len(val[7][1]["boxes"]) == 0


def test_unusable_photos_are_left_out_counted_and_named_before_training(scenes, tmp_path, caplog) -> None:
    photos = tmp_path / "images"
    shutil.copytree(scenes / "images", photos)
    content = json.loads((scenes / "instances_val.json").read_text())
    names = [image["file_name"] for image in content["images"]]
    (photos / names[0]).unlink()
    (photos / names[1]).write_bytes(b"noise")
    Image.new("RGB", (33, 44)).save(photos / names[2])
    files = {"images": str(photos), "val": str(scenes / "instances_val.json")}
    with caplog.at_level(logging.WARNING):
        data = detection_data(scenes, **files)
    assert len(data.val_set) == len(names) - 3
    assert data.val_set.changes["images that are missing, damaged or of another size"] == 3
    for name, problem in zip(
        names, ("does not exist", "not a readable image", "has 33 x 44 pixels"), strict=False
    ):
        assert f"{photos}/{name}: " in caplog.text
        assert problem in caplog.text
    with pytest.raises(InputError, match="more than max_errors=2 images cannot be used"):
        detection_data(scenes, **files, max_errors=2)


def test_a_photo_that_is_damaged_behind_its_header_costs_no_training(scenes, tmp_path, caplog) -> None:
    photos = tmp_path / "images"
    shutil.copytree(scenes / "images", photos)
    content = json.loads((scenes / "instances_train.json").read_text())
    path = photos / content["images"][0]["file_name"]
    path.write_bytes(path.read_bytes()[:700])
    data = detection_data(scenes, images=str(photos))
    seen = [image_id for batch in data.train_dataloader() for *_, image_id in batch]
    assert len(seen) == len(data.train_set)
    assert content["images"][0]["id"] not in seen
    assert f"{path.name}: damaged image" in caplog.text
