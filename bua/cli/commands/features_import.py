"""``bua features import``: convert a foreign feature file to a store."""

import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path

from bua.cli.options import NOT_NEGATIVE, POSITIVE
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
#: What one of these names is called in messages.
_SINGULAR = {"classes": "label", "attributes": "attribute"}
#: Value of ``boxes`` that stands for boxes of the whole image.
WHOLE_IMAGE = "whole"


@dataclass
class Options:
    """Keys of the command, described in conf/features_import.yaml."""

    format: str
    source: str
    out: str
    images: str | None
    boxes: str | None
    index: str | None
    labels: str | None
    classes: str | None
    attributes: str | None
    background: str | None
    id_type: str
    dtype: str
    detector_name: str | None
    weights_sha256: str | None
    shard_size: int = field(metadata=POSITIVE)
    max_errors: int | None = field(metadata=NOT_NEGATIVE)


def main(options: Options) -> None:
    """Import a file; dropped images are reported on stderr and in a report next to the store."""
    get_format(options.format)
    _check_choices(options)
    out = Path(options.out)
    result = import_store(options.format, _source(options), out, _import_options(options), _report)
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


def _check_choices(options: Options) -> None:
    choices = {"dtype": ("float16", "float32"), "id_type": ID_RULES, "background": BACKGROUND_POSITIONS}
    for key, allowed in choices.items():
        value = getattr(options, key)
        if value is not None and value not in allowed:
            raise InputError(f"{key}={value}: must be {', '.join(allowed[:-1])} or {allowed[-1]}")


def _source(options: Options) -> Source:
    files = {"classes": options.classes, "attributes": options.attributes}
    excluded = [kind for kind, file in files.items() if file == "none"]  # the word, not a file of that name
    names = {
        kind: read_names(Path(file), _SINGULAR[kind])
        for kind, file in files.items()
        if file and kind not in excluded
    }
    return Source(
        Path(options.source),
        index=_path(options.index),
        boxes=_path(options.boxes) if options.boxes != WHOLE_IMAGE else None,
        labels=_path(options.labels),
        background=options.background,
        class_names=names.get("classes", ()),
        attribute_names=names.get("attributes", ()),
        excluded_columns=frozenset(name for kind in excluded for name in _COLUMNS[kind]),
    )


def _import_options(options: Options) -> ImportOptions:
    return ImportOptions(
        images=_path(options.images),
        whole_image_boxes=options.boxes == WHOLE_IMAGE,
        ids=options.id_type,
        dtype=options.dtype,
        detector=options.detector_name,
        weights_sha256=options.weights_sha256,
        shard_size=options.shard_size,
        max_errors=options.max_errors,
    )


def _path(value: str | None) -> Path | None:
    return Path(value) if value is not None else None


def _report(line: str) -> None:
    print(f"bua features import: {line}", file=sys.stderr)
