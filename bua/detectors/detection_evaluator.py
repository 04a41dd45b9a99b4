"""How precise a detector is, by COCO's numbers or by those of Visual Genome."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from bua.detectors.frozen_detector import Proposer
from bua.detectors.proposals import Proposals, detections
from bua.metrics.detection import coco_ap
from bua.metrics.visual_genome import Found, Truth, attribute_ap, genome_ap

EVALUATIONS = ("coco", "genome")


class DetectionEvaluator:
    """Collects what a detector finds in annotated images, and scores it.

    ``coco``: AP, AP50 and AP75 of at most 100 detections an image (Lin et al. 2014), by pycocotools.
    ``genome``: AP at IoU 0.5 of objects, plain and weighted, and of attributes given the true boxes
    (Anderson et al. 2018, as released).

    Args:
        model: the detector.
        evaluation: ``coco`` or ``genome``.
        quirks: repeat the roundings of the released evaluation of Visual Genome.

    Raises:
        ValueError: there is no such evaluation.
    """

    def __init__(self, model: Proposer, evaluation: str, *, quirks: bool = False) -> None:
        if evaluation not in EVALUATIONS:
            raise ValueError(f"evaluation must be one of {', '.join(EVALUATIONS)}, not {evaluation}")
        self.model, self.evaluation, self.quirks = model, evaluation, quirks
        self.images: list[tuple[int, Truth, Found, Any]] = []  # and which boxes are crowds
        self.attributes: list[tuple[tuple[Any, Any], Any]] = []

    def add(self, image: Tensor, target: dict[str, Tensor], image_id: int) -> None:
        """Look at one image (3, H, W) from 0 to 1 with its ``boxes``, ``labels`` and ``attributes``.

        Boxes that ``crowd`` marks are no mistake to find and no loss to miss; Visual Genome has none.
        """
        genome = self.evaluation == "genome"
        options = {"threshold": 0.0, "nms_iou": 0.3, "limit": 400}
        if not genome:
            options = {"threshold": 0.05, "nms_iou": 0.5, "limit": 100}
        found = detections(proposals_of(self.model, image), **options)  # type: ignore[arg-type]
        truth = Truth(_array(target["boxes"]), _array(target["labels"]))
        seen = Found(_array(found.boxes), _array(found.labels), _array(found.scores))
        crowd = target.get("crowd", torch.zeros(len(truth.labels), dtype=torch.bool))
        self.images.append((image_id, truth, seen, _array(crowd)))
        if genome and self.model.attributes:
            said = proposals_of(self.model, image, given=target["boxes"]).attributes
            assert said is not None
            has = target["attributes"][:, 1:]
            self.attributes.append(((truth.boxes, _array(has)), _array(said[:, 1:])))

    def result(self) -> dict[str, float]:
        """Return the average precisions by name, 0 to 1."""
        if self.evaluation == "coco":
            return coco_ap(self._instances(), self._detections())
        _, truth, found, _ = zip(*self.images, strict=True)
        objects = genome_ap(truth, found, len(self.model.classes), quirks=self.quirks)
        scores = {name: objects[name] for name in ("AP50", "AP50_weighted")}
        if self.attributes:
            real, said = zip(*self.attributes, strict=True)
            every = attribute_ap(real, said, len(self.model.attributes), quirks=self.quirks)
            scores |= {"attribute_AP50": every["AP50"], "attribute_AP50_weighted": every["AP50_weighted"]}
        return scores

    def _instances(self) -> dict[str, Any]:
        boxes = [
            {**_record(image_id, box, label), "iscrowd": int(many)}
            for image_id, truth, _, crowd in self.images
            for box, label, many in zip(*truth, crowd, strict=True)
        ]
        return {
            "images": [{"id": image_id} for image_id, *_ in self.images],
            "annotations": [{**box, "id": n} for n, box in enumerate(boxes, 1)],
            "categories": [{"id": n, "name": name} for n, name in enumerate(self.model.classes, 1)],
        }

    def _detections(self) -> list[dict[str, Any]]:
        return [
            {**_record(image_id, box, label), "score": float(score)}
            for image_id, _, found, _ in self.images
            for box, label, score in zip(*found, strict=True)
        ]


def proposals_of(model: Proposer, image: Tensor, given: Tensor | None = None) -> Proposals:
    """Return the proposals of one image (3, H, W) from 0 to 1, or what is known of given boxes."""
    pixels, frame = model.resize(image * 255)
    return model.propose(pixels[None], [frame], [given])[0]


def _array(tensor: Tensor) -> Any:
    return tensor.cpu().numpy()


def _record(image_id: int, box: Any, label: Any) -> dict[str, Any]:
    x1, y1, x2, y2 = (float(v) for v in np.asarray(box))
    area = (x2 - x1) * (y2 - y1)
    return {"image_id": image_id, "category_id": int(label), "bbox": [x1, y1, x2 - x1, y2 - y1], "area": area}
