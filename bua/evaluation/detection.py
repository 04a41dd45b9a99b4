"""The average precision of a detector on annotated images."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bua.data.detection.dataset import DetectionDataset
from bua.detectors.detection_evaluator import EVALUATIONS, DetectionEvaluator, propose_image
from bua.detectors.detector import FrozenDetector
from bua.errors import InputError
from bua.io.progress import progress


@torch.inference_mode()
def evaluate_detector(
    model: Any, test: DetectionDataset, evaluation: str, *, quirks: bool = False
) -> dict[str, float]:
    """Return the average precisions of a model by name.

    Args:
        model: Detector with a method ``propose``.
        test: Annotated images.
        evaluation: Definition of average precision: "coco" or "genome".
        quirks: Whether to reproduce the rounding of the released Visual Genome evaluation. Default: no.
    """
    evaluator = DetectionEvaluator(model, evaluation, quirks=quirks)
    device = next(model.parameters()).device
    for n in progress(range(len(test))):
        image, target, image_id = test[n]
        target = {name: value.to(device) for name, value in target.items()}
        evaluator.update(image.to(device) / 255, target, image_id)
    return evaluator.compute()


@torch.inference_mode()
def attribute_accuracy(model: Any, test: DetectionDataset) -> dict[str, float]:
    """Return the fraction of annotated boxes whose most probable attribute is among the annotated ones.

    The result is empty for a model without attributes.
    """
    correct = total = 0
    for n in range(len(test) if model.attributes else 0):
        image, target, _ = test[n]
        attributes = propose_image(model, image / 255, given=target["boxes"]).attributes
        assert attributes is not None
        predicted: Tensor = attributes[:, 1:].argmax(1) + 1
        hits = target["attributes"].gather(1, predicted[:, None])
        correct, total = correct + int(hits.sum()), total + len(hits)
    return {"attribute_accuracy": correct / total} if total else {}


def score_detector(
    detector: FrozenDetector, instances: Path, images: Path, evaluation: str, *, quirks: bool = False
) -> dict[str, Any]:
    """Return the average precisions of a frozen detector with their signature and provenance.

    Args:
        detector: Detector whose classes are those of the annotations.
        instances: COCO instances.
        images: Folder of their image files.
        evaluation: Numbers to compute, one of ``EVALUATIONS``.
        quirks: Whether to repeat the roundings of the released evaluation of Visual Genome. Default: no.

    Raises:
        InputError: If ``evaluation`` does not exist, or a file is broken.
    """
    if evaluation not in EVALUATIONS:
        raise InputError(f"evaluation={evaluation}: must be {' or '.join(EVALUATIONS)}")
    names = detector.class_names, detector.attribute_names
    test = DetectionDataset(instances, images, flip=False, names=names, keep_all=True)
    test.check_photos()
    with detector.autocast:
        scores = evaluate_detector(detector.model, test, evaluation, quirks=quirks)
    return {
        "scores": scores,
        "images": len(test),
        "signature": f"detection|{evaluation}|quirks:{'yes' if quirks else 'no'}",
        "detector": detector.name,
        "weights_sha256": detector.weights_sha256,
        "instances": instances.name,
    }
