"""``bua extract``: extract region features of images into a feature store."""

import logging
import sys
from pathlib import Path
from typing import Any

from bua.detectors.extract import ExtractionOptions, ExtractionResult, ProcessGroup, extract
from bua.detectors.given_boxes import read_given_boxes
from bua.detectors.photo import find_photos
from bua.detectors.resume import errors_file
from bua.engine.distributed import rank, run_distributed
from bua.engine.instantiate import instantiate, to_plain

log = logging.getLogger(__name__)


def main(config: Any) -> None:
    """Extract features and report the result; unreadable images are listed on stderr and in a file."""
    options = ExtractionOptions(
        batch_size=config.batch_size,
        shard_size=config.shard_size,
        num_workers=config.workers,
        dtype=config.dtype,
        max_errors=config.max_errors,
    )
    photos = find_photos(config.images, config.root)
    boxes = read_given_boxes(config.boxes) if config.boxes is not None else None
    out = Path(config.out)
    recipe = to_plain(config.detector)

    def run(group: ProcessGroup, device: str) -> ExtractionResult:
        overrides = {"device": device} if "device" in recipe else {}
        detector = instantiate({**recipe, **overrides})
        return extract(photos, detector, out, options, boxes=boxes, group=group)

    trainer = config.trainer
    result = run_distributed(run, device=config.device, devices=trainer.devices, num_nodes=trainer.num_nodes)
    if rank() == 0:
        report(result, out)


def report(result: ExtractionResult, out: Path) -> None:
    """Report the result of an extraction."""
    for error in result.errors.values():
        print(f"bua extract: {error}", file=sys.stderr)
    if result.errors:
        print(
            f"bua extract: {len(result.errors)} images could not be read: {errors_file(out)}",
            file=sys.stderr,
        )
    speed = ", already extracted"
    if result.num_processed and result.seconds:
        outside = 1 - result.detector_seconds / result.seconds
        images_per_second = result.num_processed / result.seconds
        speed = f" at {images_per_second:.1f} images/s, {outside:.0%} of the time outside the detector"
    log.info(
        f"{out}: {result.num_images} images, {result.num_regions} regions "
        f"({result.num_regions / result.num_images:.1f} per image){speed}"
    )
