"""From a feature file of others to a store: in shards, resumable, everything left out counted."""

import contextlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bua import __version__
from bua.errors import InputError
from bua.store.formats import Format, find_format
from bua.store.formats.image_ids import number
from bua.store.formats.importer import Importer, Limits, NonNumericIdError, first_valid
from bua.store.formats.item import Source
from bua.store.formats.journal import ImportJournal, ImportResult, report_file, write_report
from bua.store.formats.sizes import ImageSizes
from bua.store.formats.validation import ImportRules
from bua.store.formats.vinvl import beside
from bua.store.reader import FeatureStore
from bua.store.schema import StoreMetadata
from bua.store.writer import StoreWriter

#: Stands for the hash of weights that nobody knows.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class ImportOptions:
    """How to import.

    Attributes:
        images: sizes of images: COCO JSON, folder of photographs or ``.hw.tsv``.
        whole_boxes: where there are no boxes, every region is the whole image.
        ids: one of ``names.RULES``.
        dtype: of the features in the store.
        detector: its name, where it is known.
        weights_sha256: of its weights, where it is known.
        shard_size: images a shard; a kill costs at most one.
        max_errors: stop at more images left out than this.
    """

    images: Path | None = None
    whole_boxes: bool = False
    ids: str = "auto"
    dtype: str = "float32"
    detector: str | None = None
    weights_sha256: str | None = None
    shard_size: int = 2000
    max_errors: int | None = None


def import_store(
    format_name: str, source: Source, out: Path, options: ImportOptions, report: Callable[[str], None]
) -> ImportResult:
    """Read a foreign file into a store; go on where an interrupted run stopped.

    The report is also written beside ``out``: see ``report_file``.

    Args:
        format_name: one of ``FORMATS``.
        source: what to read.
        out: the store to make.
        options: how.
        report: takes a line for the user.

    Raises:
        InputError: nothing in it can be used, too much cannot, or ``out`` cannot be written.
    """
    form = find_format(format_name)
    origin = {"format": format_name, "source": source.path.name}
    if out.exists():
        return _finished(out, origin, options)
    if form.named and not (source.class_names and source.attribute_names):
        report("classes and attributes stand there as names: give classes= and attributes= to keep them")
    try:
        return _import(source, out, options, origin, options.ids)
    except NonNumericIdError as error:
        report(f"{error}: all ids are kept as texts")
        return _import(source, out, options, origin, "text")


def _import(
    source: Source, out: Path, options: ImportOptions, origin: dict[str, str], rule: str
) -> ImportResult:
    started = time.monotonic()
    form = find_format(origin["format"])
    with contextlib.closing(form.read(source)) as reader:
        rules = _rules(form, source, options)
        items, item, first = first_valid(reader, rules)
        if rule == "auto":
            rule = "text" if number(item.name) is None else "number"
        metadata = _about(form, source, options, origin, first.features.shape[1])
        with StoreWriter(out, metadata, options.dtype) as writer:
            journal = ImportJournal(writer, origin)
            if any(isinstance(image, str) for image in writer.done):
                rule = "text"  # as an earlier run found out
            limits = Limits(options.ids, options.shard_size, options.max_errors)
            passage = Importer(writer, journal, rules, limits, first)
            try:
                passage.run(items, rule)
            except NonNumericIdError:
                shutil.rmtree(writer.folder)
                raise
            repaired = passage.tally + journal.tally()
            write_report(out, origin, len(passage.order), repaired, passage.dropped)
            writer.pack(list(passage.order))
    regions = passage.regions if passage.new else int(FeatureStore(out).counts().sum())
    seconds = time.monotonic() - started
    return ImportResult(len(passage.order), regions, dict(repaired), passage.dropped, seconds)


def _rules(form: Format, source: Source, options: ImportOptions) -> ImportRules:
    images = options.images
    if images is None and form.named and (sizes := beside(source.path, "hw.tsv")).is_file():
        images = sizes
    return ImportRules(
        source.path,
        ImageSizes(images) if images is not None else None,
        options.whole_boxes,
        source.without,
        {"class_id": len(source.class_names), "attribute_id": len(source.attribute_names)},
    )


def _about(
    form: Format, source: Source, options: ImportOptions, origin: dict[str, str], width: int
) -> StoreMetadata:
    return StoreMetadata(
        detector=options.detector or f"import:{origin['format']}",
        configuration={
            "format": origin["format"],
            "feature_size": width,
            "boxes": "whole image" if options.whole_boxes else "pixels" if form.boxes else "cells",
        },
        weights_sha256=options.weights_sha256 or UNKNOWN,
        class_names=tuple(source.class_names),
        attribute_names=tuple(source.attribute_names),
        versions={"bua": __version__, "numpy": np.__version__},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        origin=origin,
    )


def _finished(out: Path, origin: dict[str, str], options: ImportOptions) -> ImportResult:
    """Accept a store that was made of the same source before."""
    store = FeatureStore(out)
    kind = store[store.image_ids[0]].features.dtype
    if store.metadata.origin != origin or kind != options.dtype:
        raise InputError(f"{out}: is there already, not made of this source; give another out")
    shutil.rmtree(out.with_name(f"{out.name}.shards"), ignore_errors=True)
    report = report_file(out)
    said = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    counts = (len(store), int(store.counts().sum()))
    return ImportResult(*counts, said.get("repaired", {}), said.get("dropped", {}), 0.0)
