"""The two tab-separated formats of Caffe's bottom-up features: Anderson's and LXMERT's.

Anderson et al. (tools/generate_tsv.py): ``image_id image_w image_h num_boxes boxes features``.
LXMERT (src/utils.py): ``img_id img_h img_w objects_id objects_conf attrs_id attrs_conf num_boxes
boxes features``, with height before width. There is no header line. Boxes, features and LXMERT's four
columns of objects and attributes are base64 of little-endian numbers: ids int64, the rest float32.
"""

from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from bua.io.write import atomic_files
from bua.store.formats.export import Export
from bua.store.formats.source import InvalidImageError, RawImage, Source, SourceImage
from bua.store.formats.tsv import decode_array, encode_array, encode_id, parse_int, read_rows, tsv_files
from bua.structures.annotations import ImageId
from bua.structures.regions import Regions

_LABELS = {
    "class_id": ("objects_id", "<i8"),
    "class_score": ("objects_conf", "<f4"),
    "attribute_id": ("attrs_id", "<i8"),
    "attribute_score": ("attrs_conf", "<f4"),
}


def read_pa(source: Source) -> Generator[SourceImage, None, None]:
    """Yield the images of a file or folder in Anderson's format."""
    for path in tsv_files(source.path):
        for location, fields in read_rows(path, "image_id\t"):
            yield SourceImage(fields[0].decode("utf-8", "replace"), location, partial(_read_pa_row, fields))


def _read_pa_row(fields: list[bytes]) -> RawImage:
    if len(fields) != 6:
        raise InvalidImageError(f"row must have 6 fields, got {len(fields)}")
    _, width, height, count, boxes, features = fields
    repaired: list[str] = []
    n = _parse_count(count)
    return RawImage(
        decode_array(features, "<f4", (n, -1), "features", repaired),
        decode_array(boxes, "<f4", (n, 4), "boxes", repaired),
        (parse_int(height, "image_h"), parse_int(width, "image_w")),
        repaired=tuple(repaired),
    )


def read_lxmert(source: Source) -> Generator[SourceImage, None, None]:
    """Yield the images of a file or folder in LXMERT's format."""
    for path in tsv_files(source.path):
        for location, fields in read_rows(path, "img_id\t"):
            yield SourceImage(
                fields[0].decode("utf-8", "replace"), location, partial(_read_lxmert_row, fields)
            )


def _read_lxmert_row(fields: list[bytes]) -> RawImage:
    if len(fields) != 10:
        raise InvalidImageError(f"row must have 10 fields, got {len(fields)}")
    _, height, width, *labels, count, boxes, features = fields
    repaired: list[str] = []
    n = _parse_count(count)
    columns = {
        name: decode_array(text, dtype, (n,), field, repaired)
        for text, (name, (field, dtype)) in zip(labels, _LABELS.items(), strict=True)
    }
    return RawImage(
        decode_array(features, "<f4", (n, -1), "features", repaired),
        decode_array(boxes, "<f4", (n, 4), "boxes", repaired),
        (parse_int(height, "img_h"), parse_int(width, "img_w")),
        columns,
        repaired=tuple(dict.fromkeys(repaired)),
    )


def _parse_count(field: bytes) -> int:
    count = parse_int(field, "num_boxes")
    if not 0 < count < 2**20:
        raise InvalidImageError(f"num_boxes must be between 1 and {2**20 - 1:,}, got {count}")
    return count


def write_pa(export: Export) -> None:
    """Write a store in Anderson's format."""
    with atomic_files(export.out) as (path,), open(path, "wb") as file:
        for image, regions in export.images():
            height, width = regions.size
            _write_row(
                file, export.out, image, [b"%d" % width, b"%d" % height, b"%d" % len(regions)], regions
            )


def write_lxmert(export: Export) -> None:
    """Write a store in LXMERT's format; columns that the store lacks are reported and written as zeros."""
    missing = [name for name in _LABELS if name not in export.columns]
    if missing:
        export.report(f"{', '.join(missing)}: not in the store, but required by the format; written as zeros")
    with atomic_files(export.out) as (path,), open(path, "wb") as file:
        for image, regions in export.images():
            height, width = regions.size
            arrays = regions.arrays()
            labels = [
                encode_array(arrays.get(name, np.zeros(len(regions))), dtype)
                for name, (_, dtype) in _LABELS.items()
            ]
            head = [b"%d" % height, b"%d" % width, *labels, b"%d" % len(regions)]
            _write_row(file, export.out, image, head, regions)


def _write_row(file: IO[bytes], out: Path, image: ImageId, head: list[bytes], regions: Regions) -> None:
    arrays = [encode_array(regions.boxes, "<f4"), encode_array(regions.features, "<f4")]
    file.write(b"\t".join([encode_id(image, out), *head, *arrays]) + b"\n")
