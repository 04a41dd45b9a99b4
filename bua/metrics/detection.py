"""COCO average precision of detections, computed by pycocotools."""

import contextlib
import io
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def coco_ap(instances: dict[str, Any], detections: list[dict[str, Any]]) -> dict[str, float]:
    """Score detections against COCO instances.

    Args:
        instances: Content of a COCO instances file: ``images``, ``annotations`` and ``categories``.
        detections: Dictionaries of ``image_id``, ``category_id``, ``bbox`` (x, y, width, height in
            pixels) and ``score``.

    Returns:
        ``AP`` (mean over IoU 0.5 to 0.95), ``AP50`` and ``AP75``, from 0 to 1; all 0 without detections.
    """
    if not detections:
        return {"AP": 0.0, "AP50": 0.0, "AP75": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = COCO()
        ground_truth.dataset = {"info": {}, **instances}
        ground_truth.createIndex()
        evaluation = COCOeval(ground_truth, ground_truth.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(("AP", "AP50", "AP75"), map(float, evaluation.stats[:3]), strict=True))
