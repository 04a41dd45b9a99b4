"""Average precision of a detector, compared with pycocotools on the original file."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bua.data.detection.dataset import DetectionDataset
from bua.detectors.boxes import BoxConvention
from bua.detectors.detection_evaluator import DetectionEvaluator
from bua.detectors.photo import Resize
from bua.detectors.selection import BoxRegression, Proposals


class NoisyDetector:
    """A detector that finds the annotated boxes, slightly shifted, and one wrong box."""

    def __init__(self, classes, truth) -> None:
        self.classes, self.attributes, self.feature_size = tuple(classes), (), 1
        self.resize = Resize(min_size=None, max_size=5000, rule="torchvision")
        self.truth, self.calls = truth, 0

    def propose(self, pixels, geometries, given):
        boxes, labels = self.truth[self.calls]
        self.calls += 1
        rng = np.random.default_rng(self.calls)
        height, width = geometries[0].original_size
        wrong = np.array([[0, 0, width / 3, height / 3]], np.float32)
        found = np.concatenate([boxes + rng.normal(0, 2, boxes.shape), wrong]).astype(np.float32)
        classes = np.concatenate([labels, [1]])
        probabilities = np.full((len(found), len(self.classes) + 1), 0.001, np.float32)
        probabilities[np.arange(len(found)), classes] = rng.uniform(0.3, 0.99, len(found))
        regression = BoxRegression((1, 1, 1, 1), None, BoxConvention.MODERN, geometries[0])
        n = len(found)
        return [
            Proposals(
                torch.from_numpy(found),
                torch.zeros(n, 1),
                torch.from_numpy(probabilities),
                torch.zeros(n, len(self.classes) + 1, 4),
                None,
                regression,
            )
        ]


def test_coco_precision_equals_pycocotools_with_crowds_and_empty_images(shared) -> None:
    coco = shared / "data/coco_mini"
    test = DetectionDataset(coco / "instances.json", coco / "images", flip=False, keep_all=True)
    content = json.loads((coco / "instances.json").read_text())
    assert len(test) == len(content["images"])
    assert any(a.get("iscrowd") for a in content["annotations"])
    truth = [(test[n][1]["boxes"].numpy(), test[n][1]["labels"].numpy()) for n in range(len(test))]
    model = NoisyDetector(test.classes, truth)
    evaluator = DetectionEvaluator(model, "coco")
    for n in range(len(test)):
        evaluator.update(*test[n])
    ids = {category["name"]: category["id"] for category in content["categories"]}
    found = [
        {**record, "category_id": ids[test.classes[record["category_id"] - 1]]}
        for record in evaluator._coco_detections()
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        original = COCO(str(coco / "instances.json"))
        scoring = COCOeval(original, original.loadRes(found), "bbox")
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    ours = evaluator.compute()
    assert ours["AP"] == pytest.approx(scoring.stats[0], abs=2e-3)  # boxes are clipped to the image
    assert ours["AP50"] == pytest.approx(scoring.stats[1], abs=2e-3)
    assert 0.2 < ours["AP"] < 0.99


def test_unknown_evaluations_are_rejected() -> None:
    with pytest.raises(ValueError, match="one of coco, genome, got voc"):
        DetectionEvaluator(NoisyDetector((), []), "voc")
