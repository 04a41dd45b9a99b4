"""``bua extract``: photographs to a feature store."""

import logging
import sys
from pathlib import Path
from typing import Any

from bua.detectors.extract import ExtractionResult, ProcessGroup, errors_file, extract
from bua.detectors.frozen_detector import file_sha256
from bua.detectors.given_boxes import read_boxes
from bua.detectors.photos import find_photos
from bua.engine.distributed import rank, run_distributed
from bua.engine.instantiate import instantiate, to_plain
from bua.errors import InputError

log = logging.getLogger(__name__)


def main(config: Any) -> None:
    """Extract and report; unreadable photographs go to stderr and to a list beside the file."""
    if config.dtype not in ("float16", "float32"):
        raise InputError(f"dtype={config.dtype}: float16 or float32 is needed")
    photos = find_photos(config.images, config.root)
    boxes = read_boxes(config.boxes) if config.boxes is not None else None
    out = Path(config.out)

    recipe = to_plain(config.detector)

    def work(team: ProcessGroup, device: str) -> ExtractionResult:
        here = {"device": device} if "device" in recipe else {}
        return extract(
            photos,
            instantiate({**recipe, **here}),
            out,
            batch_size=config.batch_size,
            shard_size=config.shard_size,
            workers=config.workers,
            dtype=config.dtype,
            max_errors=config.max_errors,
            boxes=boxes,
            boxes_sha256=file_sha256(Path(config.boxes)) if config.boxes is not None else None,
            team=team,
        )

    processes = config.trainer
    done = run_distributed(
        work, device=config.device, devices=processes.devices, num_nodes=processes.num_nodes
    )
    if rank() == 0:
        report(done, out)


def report(done: ExtractionResult, out: Path) -> None:
    """Say how an extraction went."""
    for text in done.errors.values():
        print(f"bua extract: {text}", file=sys.stderr)
    if done.errors:
        print(
            f"bua extract: {len(done.errors)} photographs could not be read: {errors_file(out)}",
            file=sys.stderr,
        )
    speed = ", as before"
    if done.new and done.seconds:
        outside = 1 - done.detecting / done.seconds
        speed = f" at {done.new / done.seconds:.1f} images/s, {outside:.0%} of the time outside the detector"
    log.info(
        f"{out}: {done.images} images, {done.regions} regions "
        f"({done.regions / done.images:.1f} an image){speed}"
    )
