"""``bua extract``: photographs to a feature store."""

import logging
import sys
from pathlib import Path
from typing import Any

from bua.cli.build import build
from bua.errors import InputError
from bua.regions.extract import Extracted, errors_file, extract
from bua.regions.photos import find_photos

log = logging.getLogger(__name__)


def main(config: Any) -> None:
    """Extract and report; unreadable photographs go to stderr and to a list beside the file."""
    if config.dtype not in ("float16", "float32"):
        raise InputError(f"dtype={config.dtype}: float16 or float32 is needed")
    out = Path(config.out)
    photos = find_photos(config.images, config.root)
    done = extract(
        photos,
        build(config.detector),
        out,
        batch_size=config.batch_size,
        shard_size=config.shard_size,
        workers=config.workers,
        dtype=config.dtype,
        max_errors=config.max_errors,
    )
    report(done, out)


def report(done: Extracted, out: Path) -> None:
    """Say how an extraction went."""
    for text in done.errors.values():
        print(f"bua extract: {text}", file=sys.stderr)
    if done.errors:
        print(
            f"bua extract: {len(done.errors)} photographs could not be read: {errors_file(out)}",
            file=sys.stderr,
        )
    speed = f" at {done.new / done.seconds:.1f} images/s" if done.new and done.seconds else ", as before"
    log.info(
        f"{out}: {done.images} images, {done.regions} regions "
        f"({done.regions / done.images:.1f} an image){speed}"
    )
