"""The average precision of a detector on annotated images."""

from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from bua.data.detection.dataset import DetectionDataset
from bua.detectors.detection_evaluator import DetectionEvaluator, propose_image


@torch.inference_mode()
def evaluate_detector(
    model: Any, test: DetectionDataset, evaluation: str, *, quirks: bool = False
) -> dict[str, float]:
    """Return the average precisions of a model by name.

    Args:
        model: Detector with a method ``propose``.
        test: Annotated images.
        evaluation: Whose numbers to compute: "coco" or "genome".
        quirks: Whether to repeat the roundings of the released evaluation of Visual Genome. Default: no.
    """
    evaluator = DetectionEvaluator(model, evaluation, quirks=quirks)
    device = next(model.parameters()).device
    for n in tqdm(range(len(test)), disable=None, unit=" images"):
        image, target, image_id = test[n]
        target = {name: value.to(device) for name, value in target.items()}
        evaluator.update(image.to(device), target, image_id)
    return evaluator.compute()


@torch.inference_mode()
def attribute_accuracy(model: Any, test: DetectionDataset) -> dict[str, float]:
    """Return the share of annotated boxes whose most probable attribute is annotated.

    The result is empty for a model without attributes.
    """
    correct = total = 0
    for n in range(len(test) if model.attributes else 0):
        image, target, _ = test[n]
        attributes = propose_image(model, image, given=target["boxes"]).attributes
        assert attributes is not None
        predicted: Tensor = attributes[:, 1:].argmax(1) + 1
        hits = target["attributes"].gather(1, predicted[:, None])
        correct, total = correct + int(hits.sum()), total + len(hits)
    return {"attribute_accuracy": correct / total} if total else {}
