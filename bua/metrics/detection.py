"""Average precision of detections, by pycocotools."""

import contextlib
import io
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def coco_ap(instances: dict[str, Any], detections: list[dict[str, Any]]) -> dict[str, float]:
    """Score detections against COCO instances.

    Args:
        instances: ``images``, ``annotations``, ``categories`` of a COCO instances file.
        detections: ``image_id``, ``category_id``, ``bbox`` (x, y, width, height), ``score`` each.

    Returns:
        ``AP`` (mean over IoU 0.5 to 0.95), ``AP50`` and ``AP75``, 0 to 1; all 0 without detections.
    """
    if not detections:
        return {"AP": 0.0, "AP50": 0.0, "AP75": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"info": {}, **instances}
        truth.createIndex()
        scoring = COCOeval(truth, truth.loadRes(detections), "bbox")
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    return dict(zip(("AP", "AP50", "AP75"), map(float, scoring.stats[:3]), strict=True))
