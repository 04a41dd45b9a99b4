"""Export a store to a foreign feature file, and report what the format cannot hold."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from bua.errors import InputError
from bua.io.write import write_text
from bua.store.formats import Format, get_format
from bua.store.formats.export import Export
from bua.store.formats.hengyuan import index_path
from bua.store.formats.vinvl import companion_path
from bua.store.reader import FeatureStore
from bua.structures.regions import OPTIONAL

#: Further files that some formats write next to the requested one.
_COMPANION_FILES = {
    "hengyuan_hdf5": lambda out: [index_path(out)],
    "ban_hdf5": lambda out: [index_path(out)],
    "vinvl_tsv": lambda out: [companion_path(out, "hw.tsv")],
    "oscar_tsv": lambda out: [companion_path(out, ending) for ending in ("lineidx", "label.tsv", "hw.tsv")],
}


def export_store(format_name: str, path: Path, out: Path, report: Callable[[str], None]) -> FeatureStore:
    """Write a store in a foreign format.

    ``out`` appears only once it is complete; features become float32. The names of classes and attributes
    are written next to it as ``objects_vocab.txt`` and ``attributes_vocab.txt``, in the format of Visual
    Genome's files of these names.

    Args:
        format_name: Name of the format, one of ``FORMATS``.
        path: Store to export.
        out: File or folder to create.
        report: Called with a line for the user.

    Returns:
        The store.

    Raises:
        InputError: If ``out`` already exists, or the format cannot hold the store at all.
    """
    file_format = get_format(format_name)
    store = FeatureStore(path)
    for target in [out, *_COMPANION_FILES.get(format_name, lambda out: [])(out)]:
        if target.exists():
            raise InputError(f"{target}: already exists; delete it or choose another out=")
    out.parent.mkdir(parents=True, exist_ok=True)
    export = Export(store, out, report)
    for line in describe_losses(file_format, export):
        report(line)
    file_format.write(export)
    _write_vocabularies(export)
    return store


def describe_losses(file_format: Format, export: Export) -> list[str]:
    """Return one line for each part of a store that a format cannot hold."""
    lines = []
    columns = [name for name in OPTIONAL if name in export.columns and name not in file_format.columns]
    if columns:
        lines.append(f"{', '.join(columns)}: not supported by the format, left out")
    if not file_format.has_boxes:
        lines.append("boxes: not supported by the format, left out")
    if not file_format.has_sizes:
        lines.append("sizes of images: not supported by the format; an import will need images=")
    if export.store.metadata.grid is not None and file_format.has_boxes:
        lines.append("grid: not supported by the format, its cells are written as regions")
    dtype = export.store[export.store.image_ids[0]].features.dtype
    if dtype != np.float32:
        lines.append(f"features: {dtype.name} is written as float32, which needs twice the space")
    return lines


def _write_vocabularies(export: Export) -> None:
    metadata, out = export.store.metadata, export.out
    for kind, names in (("objects", metadata.class_names), ("attributes", metadata.attribute_names)):
        if not names:
            continue
        path = out.with_name(f"{out.name}.{kind}_vocab.txt")
        if any("," in name or "\n" in name or name != name.strip() or not name for name in names):
            export.report(
                f"names of {kind}: not written, a name is empty, contains a comma or line break, or begins "
                "or ends with a space"
            )
            continue
        write_text(path, "\n".join(names))
        key = "classes" if kind == "objects" else "attributes"
        export.report(f"names of {kind}: {path}; to import, set {key}={path.name}")
