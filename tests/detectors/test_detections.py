"""Detected objects by name: names, attributes and tags belong to their boxes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bua.detectors.boxes import BoxConvention
from bua.detectors.detections import (
    Detection,
    DetectionOptions,
    detect_objects,
    image_tags,
    stored_detections,
)
from bua.detectors.photo import Resize
from bua.detectors.selection import BoxRegression, Proposals
from tests.helpers.stores import regions

CLASSES, ATTRIBUTES = ("chair", "stool", "dog"), ("red", "wooden", "small")
OPTIONS = DetectionOptions(
    score_threshold=0.2,
    nms_iou=0.5,
    cross_class_iou=0.7,
    attribute_threshold=0.15,
    max_attributes=2,
    max_objects=10,
)


def proposals(boxes, probabilities, attributes) -> Proposals:
    n = len(boxes)
    geometry = Resize(min_size=100, max_size=100, rule="caffe").geometry(100, 100)
    return Proposals(
        torch.tensor(boxes, dtype=torch.float32),
        torch.zeros(n, 2),
        torch.tensor(probabilities),
        torch.zeros(n, 4, 4),
        None if attributes is None else torch.tensor(attributes),
        BoxRegression((1.0, 1.0, 1.0, 1.0), None, BoxConvention.MODERN, geometry),
    )


TWO = ([[10.0, 10, 50, 50], [60, 60, 90, 95]], [[0.1, 0.6, 0.3, 0.0], [0.2, 0.0, 0.0, 0.8]])


def test_an_object_is_labeled_with_its_attributes_and_class() -> None:
    found = detect_objects(
        proposals(*TWO, [[0.1, 0.3, 0.5, 0.1], [0.7, 0.1, 0.1, 0.1]]), CLASSES, ATTRIBUTES, OPTIONS
    )
    assert [d.label for d in found] == ["dog", "wooden red chair"]
    assert found[1].box == (10, 10, 50, 50)
    assert found[1].score == pytest.approx(0.6)
    assert dict(found[1].attributes) == pytest.approx({"wooden": 0.5, "red": 0.3})


def test_overlapping_boxes_of_two_classes_are_one_object_by_default() -> None:
    named = [d.name for d in detect_objects(proposals(*TWO, None), CLASSES, (), OPTIONS)]
    assert named == ["dog", "chair"]
    both = detect_objects(proposals(*TWO, None), CLASSES, (), replace(OPTIONS, cross_class_iou=1.0))
    assert [d.name for d in both] == ["dog", "chair", "stool"]


def test_the_limit_keeps_the_best() -> None:
    found = detect_objects(proposals(*TWO, None), CLASSES, (), replace(OPTIONS, max_objects=1))
    assert [d.name for d in found] == ["dog"]


def test_stored_regions_are_labeled_with_the_names_of_their_store() -> None:
    columns = {
        "class_id": np.array([2, 0], np.int32),
        "class_score": np.array([0.4, 0.9], np.float32),
        "attribute_id": np.array([0, 1], np.int32),
        "attribute_score": np.array([0.5, 0.01], np.float32),
    }
    found = stored_detections(regions(2, **columns), CLASSES, ATTRIBUTES, attribute_threshold=0.1)
    assert [d.label for d in found] == ["chair", "red dog"]
    assert [d.label for d in stored_detections(regions(2), (), (), attribute_threshold=0.1)] == ["", ""]


def test_tags_are_the_classes_with_their_best_scores() -> None:
    box = (0.0, 0.0, 1.0, 1.0)
    detections = [
        Detection(box, "dog", 0.4, ()),
        Detection(box, "cat", 0.6, ()),
        Detection(box, "dog", 0.7, ()),
    ]
    assert list(image_tags(detections).items()) == [("dog", 0.7), ("cat", 0.6)]
