"""Average precision of a detector, by COCO's or by Visual Genome's evaluation."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bua.detectors.detector import ProposalModel
from bua.detectors.selection import Proposals, postprocess_detections
from bua.metrics.detection import coco_ap
from bua.metrics.visual_genome import DetectedBoxes, GroundTruthBoxes, attribute_ap, genome_ap

EVALUATIONS = {
    "coco": ("AP", "AP50", "AP75"),
    "genome": ("AP50", "AP50_weighted", "attribute_AP50", "attribute_AP50_weighted"),
}
#: Arguments of ``postprocess_detections`` in each evaluation.
_POSTPROCESSING: dict[str, Any] = {
    "coco": {"score_threshold": 0.05, "nms_iou": 0.5, "max_detections": 100},
    "genome": {"score_threshold": 0.0, "nms_iou": 0.3, "max_detections": 400},
}


@dataclass(frozen=True)
class _EvaluatedImage:
    """Annotations and detections of one image.

    Attributes:
        image_id: Id of the image.
        truth: Annotated boxes and classes.
        is_crowd: Whether each annotated box is a crowd.
        detected: Detected boxes, classes and scores.
    """

    image_id: int
    truth: GroundTruthBoxes
    is_crowd: NDArray[np.bool_]
    detected: DetectedBoxes


class DetectionEvaluator:
    """Accumulate the detections in annotated images and compute their average precision.

    ``coco`` computes AP, AP50 and AP75 of at most 100 detections per image (Lin et al. 2014), with
    pycocotools. ``genome`` computes AP at an IoU of 0.5 of objects, plain and weighted, and of attributes for
    annotated boxes (Anderson et al. 2018, as released).

    Args:
        model: Detector to evaluate.
        evaluation: ``coco`` or ``genome``.
        quirks: Whether to reproduce the roundings of the released Visual Genome evaluation. Default: False.

    Raises:
        ValueError: If the evaluation is unknown.
    """

    def __init__(self, model: ProposalModel, evaluation: str, *, quirks: bool = False) -> None:
        if evaluation not in EVALUATIONS:
            raise ValueError(f"evaluation must be one of {', '.join(EVALUATIONS)}, got {evaluation}")
        self.model, self.evaluation, self.quirks = model, evaluation, quirks
        self.images: list[_EvaluatedImage] = []
        #: For each image the annotated boxes with their attributes (M, A), and the predictions (M, A).
        self.attributes: list[tuple[tuple[Any, Any], Any]] = []

    def update(self, image: Tensor, target: dict[str, Tensor], image_id: int) -> None:
        """Run the detector on one annotated image and keep its detections.

        Args:
            image: Image of shape (3, H, W), RGB from 0 to 1.
            target: Annotations: ``boxes`` (M, 4) in pixels, ``labels`` (M,) counted from 1, boolean
                ``attributes`` (M, A + 1), and optionally boolean ``crowd`` (M,), which marks boxes that are
                neither wrong to detect nor wrong to miss; Visual Genome has none.
            image_id: Id of the image.
        """
        proposals = propose_image(self.model, image)
        detections = postprocess_detections(proposals, **_POSTPROCESSING[self.evaluation])
        truth = GroundTruthBoxes(_array(target["boxes"]), _array(target["labels"]))
        detected = DetectedBoxes(
            _array(detections.boxes), _array(detections.labels), _array(detections.scores)
        )
        is_crowd = target.get("crowd", torch.zeros(len(truth.labels), dtype=torch.bool))
        self.images.append(_EvaluatedImage(image_id, truth, _array(is_crowd), detected))
        if self.evaluation == "genome" and self.model.attributes:
            predicted = propose_image(self.model, image, given=target["boxes"]).attributes
            assert predicted is not None
            annotated = target["attributes"][:, 1:]
            self.attributes.append(((truth.boxes, _array(annotated)), _array(predicted[:, 1:])))

    def compute(self) -> dict[str, float]:
        """Return the average precisions by name, from 0 to 1."""
        if self.evaluation == "coco":
            return coco_ap(self._coco_instances(), self._coco_detections())
        truth = [image.truth for image in self.images]
        detected = [image.detected for image in self.images]
        objects = genome_ap(truth, detected, len(self.model.classes), quirks=self.quirks)
        scores = {name: objects[name] for name in ("AP50", "AP50_weighted")}
        if self.attributes:
            annotated, predicted = zip(*self.attributes, strict=True)
            attributes = attribute_ap(annotated, predicted, len(self.model.attributes), quirks=self.quirks)
            scores |= {f"attribute_{name}": attributes[name] for name in ("AP50", "AP50_weighted")}
        return scores

    def _coco_instances(self) -> dict[str, Any]:
        """Return the annotations as the content of a COCO instances file."""
        annotations = [
            {**_coco_record(image.image_id, box, label), "iscrowd": int(is_crowd)}
            for image in self.images
            for box, label, is_crowd in zip(*image.truth, image.is_crowd, strict=True)
        ]
        return {
            "images": [{"id": image.image_id} for image in self.images],
            "annotations": [{**record, "id": n} for n, record in enumerate(annotations, 1)],
            "categories": [{"id": n, "name": name} for n, name in enumerate(self.model.classes, 1)],
        }

    def _coco_detections(self) -> list[dict[str, Any]]:
        """Return the detections in COCO's result format."""
        return [
            {**_coco_record(image.image_id, box, label), "score": float(score)}
            for image in self.images
            for box, label, score in zip(*image.detected, strict=True)
        ]


def propose_image(model: ProposalModel, image: Tensor, given: Tensor | None = None) -> Proposals:
    """Return the proposals of one image, or the predictions for given boxes.

    Args:
        model: Detector.
        image: Image of shape (3, H, W), RGB from 0 to 1.
        given: Boxes to use instead of proposals, shape (K, 4), in pixels of the image. Default: none.
    """
    pixels, geometry = model.resize(image * 255)
    return model.propose(pixels[None], [geometry], [given])[0]


def _array(tensor: Tensor) -> Any:
    return tensor.cpu().numpy()


def _coco_record(image_id: int, box: Any, label: Any) -> dict[str, Any]:
    x1, y1, x2, y2 = (float(v) for v in np.asarray(box))
    width, height = x2 - x1, y2 - y1
    record: dict[str, Any] = {"image_id": image_id, "category_id": int(label)}
    return record | {"bbox": [x1, y1, width, height], "area": width * height}
