"""From a store to a feature file of others; what the other cannot hold is told, once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from bua.errors import InputError
from bua.io.atomic import write_text
from bua.store.formats import Format, find_format
from bua.store.formats.export import Export
from bua.store.formats.hengyuan import index_of
from bua.store.formats.vinvl import beside
from bua.store.reader import FeatureStore
from bua.structures.regions import OPTIONAL

#: Files that some formats write beside the one that is asked for.
_BESIDE = {
    "hengyuan_hdf5": lambda out: [index_of(out)],
    "ban_hdf5": lambda out: [index_of(out)],
    "vinvl_tsv": lambda out: [beside(out, "hw.tsv")],
    "oscar_tsv": lambda out: [beside(out, ending) for ending in ("lineidx", "label.tsv", "hw.tsv")],
}


def export_store(format_name: str, path: Path, out: Path, report: Callable[[str], None]) -> FeatureStore:
    """Write a store in a foreign format.

    ``out`` appears only when it is whole; features become float32. Names of classes and attributes
    are written as ``objects_vocab.txt`` and ``attributes_vocab.txt`` of Visual Genome are, beside it.

    Args:
        format_name: one of ``FORMATS``.
        path: the store.
        out: file or folder to make.
        report: takes a line for the user.

    Returns:
        The store.

    Raises:
        InputError: ``out`` is there already, or the format cannot hold the store at all.
    """
    form = find_format(format_name)
    store = FeatureStore(path)
    for place in [out, *_BESIDE.get(format_name, lambda out: [])(out)]:
        if place.exists():
            raise InputError(f"{place}: is there already; delete it or give another out")
    out.parent.mkdir(parents=True, exist_ok=True)
    export = Export(store, out, report)
    for text in lost_columns(form, export):
        report(text)
    form.write(export)
    _write_names(export)
    return store


def lost_columns(form: Format, export: Export) -> list[str]:
    """Return what a format cannot hold of a store, one line each."""
    texts = []
    columns = [name for name in OPTIONAL if name in export.columns and name not in form.columns]
    if columns:
        texts.append(f"{', '.join(columns)}: the format cannot hold them, left out")
    if not form.boxes:
        texts.append("boxes: the format cannot hold them, left out")
    if not form.sizes:
        texts.append("sizes of images: the format cannot hold them; give images= when it is imported")
    if export.store.metadata.grid is not None and form.boxes:
        texts.append("grid: the format cannot hold it, its cells are written as regions")
    kind = export.store[export.store.image_ids[0]].features.dtype
    if kind != np.float32:
        texts.append(f"features: {kind.name} is written as float32, which takes twice the room")
    return texts


def _write_names(export: Export) -> None:
    metadata, out = export.store.metadata, export.out
    for kind, names in (("objects", metadata.class_names), ("attributes", metadata.attribute_names)):
        if not names:
            continue
        path = out.with_name(f"{out.name}.{kind}_vocab.txt")
        if any("," in name or "\n" in name or name != name.strip() or not name for name in names):
            export.report(f"names of {kind}: not written, one holds a comma or begins or ends with a space")
            continue
        write_text(path, "\n".join(names))
        key = "classes" if kind == "objects" else "attributes"
        export.report(f"names of {kind}: {path}; give {key}={path.name} when it is imported")
