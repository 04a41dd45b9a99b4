"""The two tab-separated formats of Caffe's bottom-up features: Anderson's own and LXMERT's.

Anderson et al. (tools/generate_tsv.py): ``image_id image_w image_h num_boxes boxes features``.
LXMERT (src/utils.py): ``img_id img_h img_w objects_id objects_conf attrs_id attrs_conf num_boxes
boxes features``: height before width. No line of names; the last columns, and LXMERT's four of
objects and attributes, are base64 of little-endian numbers: ids int64, everything else float32.
"""

from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from bua.store.formats.export import Export, new_files
from bua.store.formats.item import InvalidImageError, Item, Raw, Source
from bua.store.formats.tsv import decoded, encoded, files, identifier, rows, whole
from bua.store.reader import ImageId
from bua.structures.regions import Regions

_LABELS = {
    "class_id": ("objects_id", "<i8"),
    "class_score": ("objects_conf", "<f4"),
    "attribute_id": ("attrs_id", "<i8"),
    "attribute_score": ("attrs_conf", "<f4"),
}


def read_pa(source: Source) -> Generator[Item, None, None]:
    """Read Anderson's format, one file or a folder of them."""
    for path in files(source.path):
        for where, fields in rows(path, "image_id\t"):
            yield Item(fields[0].decode("utf-8", "replace"), where, partial(_pa, fields))


def _pa(fields: list[bytes]) -> Raw:
    if len(fields) != 6:
        raise InvalidImageError(f"{len(fields)} fields, 6 are needed")
    _, width, height, count, boxes, features = fields
    repaired: list[str] = []
    n = _count(count)
    return Raw(
        decoded(features, "<f4", (n, -1), "features", repaired),
        decoded(boxes, "<f4", (n, 4), "boxes", repaired),
        (whole(height, "image_h"), whole(width, "image_w")),
        repaired=tuple(repaired),
    )


def read_lxmert(source: Source) -> Generator[Item, None, None]:
    """Read LXMERT's format, one file or a folder of them."""
    for path in files(source.path):
        for where, fields in rows(path, "img_id\t"):
            yield Item(fields[0].decode("utf-8", "replace"), where, partial(_lxmert, fields))


def _lxmert(fields: list[bytes]) -> Raw:
    if len(fields) != 10:
        raise InvalidImageError(f"{len(fields)} fields, 10 are needed")
    _, height, width, *labels, count, boxes, features = fields
    repaired: list[str] = []
    n = _count(count)
    columns = {
        name: decoded(text, kind, (n,), what, repaired)
        for text, (name, (what, kind)) in zip(labels, _LABELS.items(), strict=True)
    }
    return Raw(
        decoded(features, "<f4", (n, -1), "features", repaired),
        decoded(boxes, "<f4", (n, 4), "boxes", repaired),
        (whole(height, "img_h"), whole(width, "img_w")),
        columns,
        repaired=tuple(dict.fromkeys(repaired)),
    )


def _count(field: bytes) -> int:
    count = whole(field, "num_boxes")
    if not 0 < count < 2**20:
        raise InvalidImageError(f"num_boxes is {count}")
    return count


def write_pa(export: Export) -> None:
    """Write Anderson's format."""
    with new_files(export.out) as (path,), open(path, "wb") as file:
        for image, regions in export.images():
            height, width = regions.size
            _row(file, export.out, image, [b"%d" % width, b"%d" % height, b"%d" % len(regions)], regions)


def write_lxmert(export: Export) -> None:
    """Write LXMERT's format; what the store has no numbers for is written as zeros, and told."""
    missing = [name for name in _LABELS if name not in export.columns]
    if missing:
        export.report(f"{', '.join(missing)}: not in the store, written as zeros, which the format needs")
    with new_files(export.out) as (path,), open(path, "wb") as file:
        for image, regions in export.images():
            height, width = regions.size
            arrays = regions.arrays()
            labels = [
                encoded(arrays.get(name, np.zeros(len(regions))), kind) for name, (_, kind) in _LABELS.items()
            ]
            head = [b"%d" % height, b"%d" % width, *labels, b"%d" % len(regions)]
            _row(file, export.out, image, head, regions)


def _row(file: IO[bytes], out: Path, image: ImageId, head: list[bytes], regions: Regions) -> None:
    arrays = [encoded(regions.boxes, "<f4"), encoded(regions.features, "<f4")]
    file.write(b"\t".join([identifier(image, out), *head, *arrays]) + b"\n")
