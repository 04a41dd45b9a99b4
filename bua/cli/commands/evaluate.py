"""``bua evaluate``: compute the average precision of a detector on annotated images."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bua.cli.outputs import check_file, write_json
from bua.detectors.detector import Detector, FrozenDetector
from bua.engine.instantiate import instantiate
from bua.errors import InputError
from bua.evaluation.detection import score_detector

log = logging.getLogger(__name__)


@dataclass
class Options:
    """Keys of the command, described in conf/evaluate.yaml."""

    instances: str
    images: str
    evaluation: str
    quirks: bool
    out: str | None
    weights: str | None
    classes: str | None
    attributes: str | None
    device: str
    precision: str
    channels_last: bool
    detector: Any


def main(options: Options) -> None:
    """Score a detector on COCO instances, and write the scores with their provenance."""
    check_file(options.out)
    detector = instantiate(options.detector, kind=Detector)
    if not isinstance(detector, FrozenDetector):
        raise InputError(f"detector={detector.name}: detects no objects; scenes_fpn, vg_c4 and fpn_r50 do")
    instances, images = Path(options.instances), Path(options.images)
    result = score_detector(detector, instances, images, options.evaluation, quirks=options.quirks)
    for name, value in result["scores"].items():
        log.info(f"{name:24}{value:.4f}")
    if options.out is not None:
        write_json(options.out, result, "scores with their provenance")
