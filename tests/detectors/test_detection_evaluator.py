"""Precision of a detector: COCO's numbers are those that pycocotools gives for the file itself."""

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
from bua.detectors.proposals import Proposals, Regression
from bua.detectors.resize import Resize


class Guesser:
    """A detector that finds true boxes, moved a little, some of them, and some that are not there."""

    def __init__(self, classes, truth) -> None:
        self.classes, self.attributes, self.feature_size = tuple(classes), (), 1
        self.resize = Resize(side=None, longest=5000, rule="torchvision")
        self.truth, self.turn = truth, 0

    def propose(self, pixels, frames, given):
        boxes, labels = self.truth[self.turn]
        self.turn += 1
        rng = np.random.default_rng(self.turn)
        height, width = frames[0].size
        wrong = np.array([[0, 0, width / 3, height / 3]], np.float32)
        found = np.concatenate([boxes + rng.normal(0, 2, boxes.shape), wrong]).astype(np.float32)
        classes = np.concatenate([labels, [1]])
        probabilities = np.full((len(found), len(self.classes) + 1), 0.001, np.float32)
        probabilities[np.arange(len(found)), classes] = rng.uniform(0.3, 0.99, len(found))
        frame = Regression((1, 1, 1, 1), None, BoxConvention.MODERN, frames[0])
        n = len(found)
        return [
            Proposals(
                torch.from_numpy(found),
                torch.zeros(n, 1),
                torch.from_numpy(probabilities),
                torch.zeros(n, len(self.classes) + 1, 4),
                None,
                frame,
            )
        ]


def test_coco_precision_is_that_of_the_file_with_its_crowds_and_empty_images(shared) -> None:
    coco = shared / "data/coco_mini"
    test = DetectionDataset(coco / "instances.json", coco / "images", flip=False, whole=True)
    content = json.loads((coco / "instances.json").read_text())
    assert len(test) == len(content["images"])
    assert any(a.get("iscrowd") for a in content["annotations"])
    truth = [(test[n][1]["boxes"].numpy(), test[n][1]["labels"].numpy()) for n in range(len(test))]
    model = Guesser(test.classes, truth)
    precision = DetectionEvaluator(model, "coco")
    for n in range(len(test)):
        precision.add(*test[n])
    ids = {name: c["id"] for c in content["categories"] for name in [c["name"]]}
    found = [
        {**record, "category_id": ids[test.classes[record["category_id"] - 1]]}
        for record in precision._detections()
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        real = COCO(str(coco / "instances.json"))
        scoring = COCOeval(real, real.loadRes(found), "bbox")
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    ours = precision.result()
    assert ours["AP"] == pytest.approx(scoring.stats[0], abs=2e-3)  # boxes that reach out are cut
    assert ours["AP50"] == pytest.approx(scoring.stats[1], abs=2e-3)
    assert 0.2 < ours["AP"] < 0.99


def test_unknown_evaluations_are_refused() -> None:
    with pytest.raises(ValueError, match="one of coco, genome, not voc"):
        DetectionEvaluator(Guesser((), []), "voc")
