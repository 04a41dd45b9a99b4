"""Import a foreign feature file into a store: in shards, resumable, with a report of what was left out."""

import contextlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from bua import __version__
from bua.errors import InputError
from bua.io.files import read_json
from bua.io.schema import validate
from bua.io.write import check_replaceable
from bua.store.formats import Format, get_format
from bua.store.formats.image_ids import parse_number
from bua.store.formats.image_sizes import ImageSizes
from bua.store.formats.importer import Importer, ImportLimits, NonNumericIdError, find_first_valid
from bua.store.formats.journal import ImportJournal, ImportResult, report_path, write_report
from bua.store.formats.source import Source
from bua.store.formats.validation import ImportRules
from bua.store.formats.vinvl import companion_path
from bua.store.reader import FeatureStore
from bua.store.schema import StoreMetadata
from bua.store.writer import StoreWriter, remove_leftovers

#: Used as the hash of unknown detector weights.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class ImportOptions:
    """Options of an import.

    Attributes:
        images: Source of the image sizes: a COCO JSON, a folder of image files or a ``.hw.tsv``.
        whole_image_boxes: Whether to use the whole image as the box of every region if there are no boxes.
        ids: How to interpret image ids, one of ``image_ids.ID_RULES``.
        dtype: Type of the features in the store, float16 or float32.
        detector: Name of the detector, if known.
        weights_sha256: SHA-256 of the detector's weights, if known.
        shard_size: Number of images per shard; an interrupted import loses at most one shard.
        max_errors: Largest number of images that may be left out; ``None`` for no limit.
    """

    images: Path | None = None
    whole_image_boxes: bool = False
    ids: str = "auto"
    dtype: str = "float32"
    detector: str | None = None
    weights_sha256: str | None = None
    shard_size: int = 2000
    max_errors: int | None = None


def import_store(
    format_name: str, source: Source, out: Path, options: ImportOptions, report: Callable[[str], None]
) -> ImportResult:
    """Import a foreign feature file into a store, resuming an interrupted import.

    A report of repaired and dropped images is written next to ``out``; see ``report_path``.

    Args:
        format_name: Name of the format, one of ``FORMATS``.
        source: Files to import.
        out: Store to create.
        options: Options of the import.
        report: Called with a line for the user.

    Returns:
        Summary of the import.

    Raises:
        InputError: If no image is valid, too many are invalid, or ``out`` cannot be written.
    """
    file_format = get_format(format_name)
    origin = {"format": format_name, "source": source.path.name}
    check_replaceable(out)
    if out.exists():
        return _existing_result(out, origin, options)
    if file_format.uses_names and not (source.class_names and source.attribute_names):
        report("the format holds classes and attributes as names; set classes= and attributes= to keep them")
    try:
        return _import(source, out, options, origin, options.ids)
    except NonNumericIdError as error:
        report(f"{error}: all ids are kept as strings")
        return _import(source, out, options, origin, "text")


def _import(
    source: Source, out: Path, options: ImportOptions, origin: dict[str, str], rule: str
) -> ImportResult:
    started = time.monotonic()
    file_format = get_format(origin["format"])
    with contextlib.closing(file_format.read(source)) as reader:
        rules = _make_rules(file_format, source, options)
        items, item, first = find_first_valid(reader, rules)
        if rule == "auto":
            rule = "text" if parse_number(item.name) is None else "number"
        metadata = _make_metadata(file_format, source, options, origin, first.features.shape[1])
        with StoreWriter(out, metadata, options.dtype) as writer:
            journal = ImportJournal(writer, origin)
            if any(isinstance(image, str) for image in writer.done):
                rule = "text"  # decided by the interrupted run
            limits = ImportLimits(options.ids, options.shard_size, options.max_errors)
            importer = Importer(writer, journal, rules, limits, first)
            try:
                importer.run(items, rule)
            except NonNumericIdError:
                shutil.rmtree(writer.folder)
                raise
            repaired = importer.tally + journal.tally()
            write_report(out, origin, len(importer.order), repaired, importer.dropped)
            writer.pack(list(importer.order))
    regions = importer.regions if importer.is_new else int(FeatureStore(out).counts().sum())
    seconds = time.monotonic() - started
    return ImportResult(len(importer.order), regions, dict(repaired), importer.dropped, seconds)


def _make_rules(file_format: Format, source: Source, options: ImportOptions) -> ImportRules:
    images = options.images
    if (
        images is None
        and file_format.uses_names
        and (sizes := companion_path(source.path, "hw.tsv")).is_file()
    ):
        images = sizes
    return ImportRules(
        source.path,
        ImageSizes(images) if images is not None else None,
        options.whole_image_boxes,
        source.excluded_columns,
        {"class_id": len(source.class_names), "attribute_id": len(source.attribute_names)},
    )


def _make_metadata(
    file_format: Format, source: Source, options: ImportOptions, origin: dict[str, str], width: int
) -> StoreMetadata:
    return StoreMetadata(
        detector=options.detector or f"import:{origin['format']}",
        configuration={
            "format": origin["format"],
            "feature_size": width,
            "boxes": "whole image"
            if options.whole_image_boxes
            else "pixels"
            if file_format.has_boxes
            else "cells",
        },
        weights_sha256=options.weights_sha256 or UNKNOWN,
        class_names=tuple(source.class_names),
        attribute_names=tuple(source.attribute_names),
        versions={"bua": __version__, "numpy": np.__version__},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        origin=origin,
    )


class _Report(TypedDict):
    repaired: NotRequired[dict[str, int]]
    dropped: NotRequired[dict[str, Any]]


def _existing_result(out: Path, origin: dict[str, str], options: ImportOptions) -> ImportResult:
    """Return the summary of a finished store that was imported from the same source.

    Raises:
        InputError: If it was imported from another source or with another dtype.
    """
    store = FeatureStore(out)
    dtype = store[store.image_ids[0]].features.dtype
    if store.metadata.origin != origin or dtype != options.dtype:
        raise InputError(f"{out}: already exists, but was not imported from this source; choose another out=")
    remove_leftovers(out)
    report = report_path(out)
    content = read_json(report) if report.exists() else {}
    validate(content, _Report, report)
    counts = (len(store), int(store.counts().sum()))
    return ImportResult(*counts, content.get("repaired", {}), content.get("dropped", {}), 0.0)
