"""``bua features import``: convert a foreign feature file to a store."""

import logging
import sys
from pathlib import Path
from typing import Any

from bua.errors import InputError
from bua.store.formats import get_format
from bua.store.formats.image_ids import ID_RULES
from bua.store.formats.import_store import ImportOptions, import_store
from bua.store.formats.journal import report_path
from bua.store.formats.source import BACKGROUND_POSITIONS, Source
from bua.text.names import read_names

log = logging.getLogger(__name__)

#: Number of dropped images that are listed; the report has all of them.
MAX_LISTED = 10
#: Columns that belong to each of the two kinds of names.
_COLUMNS = {
    "classes": ("class_id", "class_score"),
    "attributes": ("attribute_id", "attribute_score"),
}


def main(config: Any) -> None:
    """Import a file; dropped images are reported on stderr and in a report next to the store."""
    get_format(config.format)
    choices = {"dtype": ("float16", "float32"), "ids": ID_RULES, "background": BACKGROUND_POSITIONS}
    for key, allowed in choices.items():
        if config[key] is not None and config[key] not in allowed:
            raise InputError(f"{key}={config[key]}: must be {', '.join(allowed[:-1])} or {allowed[-1]}")
    excluded = {key: config[key] == "none" for key in _COLUMNS}  # the word, not a file of that name
    names = {
        key: read_names(Path(config[key]), kind) if config[key] and not excluded[key] else ()
        for key, kind in (("classes", "label"), ("attributes", "attribute"))
    }
    excluded_columns = [name for key in excluded if excluded[key] for name in _COLUMNS[key]]
    whole_image_boxes = config.boxes == "whole"
    source = Source(
        Path(config.source),
        index=_path(config.index),
        boxes=None if whole_image_boxes else _path(config.boxes),
        labels=_path(config.labels),
        background=config.background,
        class_names=names["classes"],
        attribute_names=names["attributes"],
        excluded_columns=frozenset(excluded_columns),
    )
    options = ImportOptions(
        images=_path(config.images),
        whole_image_boxes=whole_image_boxes,
        ids=config.ids,
        dtype=config.dtype,
        detector=config.detector_name,
        weights_sha256=config.weights_sha256,
        shard_size=config.shard_size,
        max_errors=config.max_errors,
    )
    out = Path(config.out)
    result = import_store(config.format, source, out, options, _report)
    for n, (location, reason) in enumerate(result.dropped.items()):
        if n == MAX_LISTED:
            _report(f"{len(result.dropped) - MAX_LISTED} more")
            break
        _report(f"dropped {location}: {reason}")
    if result.dropped:
        _report(f"{len(result.dropped)} images were dropped, see {report_path(out)}")
    for repair, count in result.repaired.items():
        log.info(f"{count} images: {repair}")
    speed = f" at {result.images / result.seconds:.1f} images/s" if result.seconds else ", already imported"
    log.info(
        f"{out}: {result.images} images, {result.regions} regions "
        f"({result.regions / result.images:.1f} per image){speed}"
    )


def _path(value: str | None) -> Path | None:
    return Path(value) if value is not None else None


def _report(line: str) -> None:
    print(f"bua features import: {line}", file=sys.stderr)
