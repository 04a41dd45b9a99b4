"""``bua evaluate``: how precise a detector is on annotated photographs."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from bua.data.detection.dataset import DetectionDataset
from bua.detectors.detection_evaluator import EVALUATIONS, DetectionEvaluator
from bua.detectors.frozen_detector import FrozenDetector
from bua.engine.instantiate import instantiate
from bua.errors import InputError
from bua.io.atomic import write_text

log = logging.getLogger(__name__)


def main(config: Any) -> None:
    """Score a detector on COCO instances, and write the numbers with where they come from."""
    if config.evaluation not in EVALUATIONS:
        raise InputError(f"evaluation={config.evaluation}: {' or '.join(EVALUATIONS)} is needed")
    detector = instantiate(config.detector)
    if not isinstance(detector, FrozenDetector):
        raise InputError(f"detector={detector.name} detects nothing; scenes_fpn, vg_c4 and fpn_r50 do")
    names = detector.class_names, detector.attribute_names
    test = DetectionDataset(config.instances, config.images, flip=False, names=names, whole=True)
    with detector.computing:
        scores = evaluate_detector(detector.model, test, config.evaluation, quirks=config.quirks)
    for name, value in scores.items():
        log.info(f"{name:24}{value:.4f}")
    result = {
        "scores": scores,
        "images": len(test),
        "signature": f"detection|{config.evaluation}|quirks:{'yes' if config.quirks else 'no'}",
        "detector": detector.name,
        "weights_sha256": detector.weights_sha256,
        "instances": Path(config.instances).name,
    }
    if config.out is not None:
        Path(config.out).parent.mkdir(parents=True, exist_ok=True)
        write_text(Path(config.out), json.dumps(result, indent=1) + "\n")


@torch.inference_mode()
def evaluate_detector(
    model: Any, test: DetectionDataset, evaluation: str, *, quirks: bool = False
) -> dict[str, float]:
    """Return the average precisions of a model on annotated photographs."""
    precision = DetectionEvaluator(model, evaluation, quirks=quirks)
    device = next(model.parameters()).device
    for n in tqdm(range(len(test)), disable=None, unit=" images"):
        image, target, image_id = test[n]
        precision.add(image.to(device), {name: value.to(device) for name, value in target.items()}, image_id)
    return precision.result()
