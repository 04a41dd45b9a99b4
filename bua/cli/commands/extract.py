"""``bua extract``: extract region features of images into a feature store."""

import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bua.cli.findings import warn_of_photographs
from bua.cli.options import NOT_NEGATIVE, POSITIVE
from bua.detectors.detector import Detector
from bua.detectors.extract import ExtractionOptions, ExtractionResult, ProcessGroup, extract
from bua.detectors.given_boxes import read_given_boxes
from bua.detectors.photo_files import find_photos
from bua.detectors.resume import errors_file
from bua.engine.distributed import run_distributed
from bua.engine.instantiate import instantiate, to_plain

log = logging.getLogger(__name__)


@dataclass
class Options:
    """Keys of the command, described in conf/extract.yaml."""

    images: str | list[str]
    root: str | None
    out: str
    boxes: str | None
    weights: str | None
    classes: str | None
    attributes: str | None
    batch_size: int = field(metadata=POSITIVE)
    shard_size: int = field(metadata=POSITIVE)
    num_workers: int = field(metadata=NOT_NEGATIVE)
    dtype: str
    max_errors: int | None = field(metadata=NOT_NEGATIVE)
    stretch_gray: bool
    device: str
    precision: str
    channels_last: bool
    trainer: Any
    detector: Any


def main(options: Options) -> None:
    """Extract features and report the result; unreadable images are listed on stderr and in a file."""
    extraction = ExtractionOptions(
        batch_size=options.batch_size,
        shard_size=options.shard_size,
        num_workers=options.num_workers,
        dtype=options.dtype,
        max_errors=options.max_errors,
        stretch_gray=options.stretch_gray,
    )
    photos = find_photos(options.images, options.root)
    boxes = read_given_boxes(options.boxes) if options.boxes is not None else None
    out = Path(options.out)
    recipe = to_plain(options.detector)

    def run(group: ProcessGroup, device: str) -> ExtractionResult:
        overrides = {"device": device} if "device" in recipe else {}
        detector = instantiate({**recipe, **overrides}, kind=Detector)
        if options.weights is None and group.is_first:
            warn_of_photographs(recipe.get("name", ""), photos, "bua extract")
        result = extract(photos, detector, out, extraction, boxes=boxes, group=group)
        if group.is_first:
            report(result, out)
        return result

    trainer = options.trainer
    run_distributed(run, device=options.device, devices=trainer.devices, num_nodes=trainer.num_nodes)


def report(result: ExtractionResult, out: Path) -> None:
    """Report the result of an extraction."""
    for error in result.errors.values():
        print(f"bua extract: {error}", file=sys.stderr)
    if result.errors:
        print(
            f"bua extract: {len(result.errors)} images could not be read: {errors_file(out)}",
            file=sys.stderr,
        )
    for line in result.remarks:
        print(f"bua extract: {line}", file=sys.stderr)
    speed = ", already extracted"
    if result.num_processed and result.seconds:
        outside = 1 - result.detector_seconds / result.seconds
        images_per_second = result.num_processed / result.seconds
        speed = f" at {images_per_second:.1f} images/s, {outside:.0%} of the time for reading and writing"
    log.info(
        f"{out}: {result.num_images} images, {result.num_regions} regions "
        f"({result.num_regions / result.num_images:.1f} per image){speed}"
    )
