"""``bua features import``: a feature file of others becomes a store."""

import logging
import sys
from pathlib import Path
from typing import Any

from bua.errors import InputError
from bua.store.formats import find_format
from bua.store.formats.image_ids import RULES
from bua.store.formats.import_store import ImportOptions, import_store
from bua.store.formats.item import BACKGROUND, Source
from bua.store.formats.journal import report_file
from bua.text.names import read_names

log = logging.getLogger(__name__)

#: So many images that were left out are named; the report has all.
NAMED = 10
#: Columns that go with each of the two kinds of names.
_COLUMNS = {
    "classes": ("class_id", "class_score"),
    "attributes": ("attribute_id", "attribute_score"),
}


def main(config: Any) -> None:
    """Import and report; images that cannot be used go to stderr and to a report beside the file."""
    find_format(config.format)
    for key, allowed in {"dtype": ("float16", "float32"), "ids": RULES, "background": BACKGROUND}.items():
        if config[key] is not None and config[key] not in allowed:
            raise InputError(f"{key}={config[key]}: {', '.join(allowed[:-1])} or {allowed[-1]} is needed")
    without = {key: config[key] == "none" for key in _COLUMNS}  # the word, not a file of that name
    names = {
        key: read_names(Path(config[key]), kind) if config[key] and not without[key] else ()
        for key, kind in (("classes", "label"), ("attributes", "attribute"))
    }
    left_out = [name for key in without if without[key] for name in _COLUMNS[key]]
    whole = config.boxes == "whole"
    source = Source(
        Path(config.source),
        index=_path(config.index),
        boxes=None if whole else _path(config.boxes),
        labels=_path(config.labels),
        background=config.background,
        class_names=names["classes"],
        attribute_names=names["attributes"],
        without=frozenset(left_out),
    )
    options = ImportOptions(
        images=_path(config.images),
        whole_boxes=whole,
        ids=config.ids,
        dtype=config.dtype,
        detector=config.detector_name,
        weights_sha256=config.weights_sha256,
        shard_size=config.shard_size,
        max_errors=config.max_errors,
    )
    out = Path(config.out)
    done = import_store(config.format, source, out, options, _report)
    for n, (where, reason) in enumerate(done.dropped.items()):
        if n == NAMED:
            _report(f"{len(done.dropped) - NAMED} more")
            break
        _report(f"left out: {where}: {reason}")
    if done.dropped:
        _report(f"{len(done.dropped)} images were left out: {report_file(out)}")
    for what, count in done.repaired.items():
        log.info(f"{count} images: {what}")
    speed = f" at {done.images / done.seconds:.1f} images/s" if done.seconds else ", as before"
    log.info(
        f"{out}: {done.images} images, {done.regions} regions "
        f"({done.regions / done.images:.1f} an image){speed}"
    )


def _path(value: str | None) -> Path | None:
    return Path(value) if value is not None else None


def _report(line: str) -> None:
    print(f"bua features import: {line}", file=sys.stderr)
