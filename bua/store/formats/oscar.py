"""The tab-separated files that Oscar reads, of VinVL's and other features.

oscar/run_captioning.py: ``features.tsv`` with a key and JSON ``{"num_boxes": n, "features": base64 of
(n, D + 6) float32}``, where the last six numbers are the box as fractions x1 y1 x2 y2 w h; for pretraining
(oscar/datasets/oscar_tsv.py) key, count and base64 are columns. Separate files are ``.label.tsv``, with a
key and JSON ``[{"class": name, "conf": 0.9, "rect": [x1, y1, x2, y2]}]``; ``.lineidx``, with the offset of
each line of ``features.tsv``; and ``.hw.tsv``, with a key and ``[{"height": h, "width": w}]``.
"""

import contextlib
import json
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bua.errors import InputError
from bua.io.write import atomic_files
from bua.store.formats.export import Export
from bua.store.formats.hengyuan import infer_size, spatial_features
from bua.store.formats.source import InvalidImageError, RawImage, Source, SourceImage
from bua.store.formats.tsv import decode_array, encode_array, encode_id, parse_int, read_rows, tsv_files
from bua.store.formats.vinvl import (
    companion_path,
    format_size,
    make_objects,
    parse_boxes,
    parse_json,
    parse_labels,
    report_missing_names,
)

#: Number of box coordinates that follow the features of a region.
_SPATIAL = 6


def read_features(source: Source) -> Generator[SourceImage, None, None]:
    """Yield the images of a file or folder; boxes and sizes come from the label file if there is one.

    Raises:
        InputError: If a file does not exist.
    """
    for path in tsv_files(source.path):
        if path.name.endswith((".label.tsv", ".hw.tsv")):
            continue
        labels = _LabelLines(source.labels or companion_path(path, "label.tsv"), source.labels is not None)
        for location, fields in read_rows(path):
            key = fields[0].decode("utf-8", "replace")
            yield SourceImage(key, location, partial(_read_features, fields, source, labels))


class _LabelLines:
    """Looks up the lines of a label file by key; keeps only their offsets in memory.

    Args:
        path: Label file.
        required: Whether the file must exist.

    Raises:
        InputError: If a required file does not exist.
    """

    def __init__(self, path: Path, required: bool) -> None:
        self.path, self._offsets = path, dict[bytes, int]()
        if not path.is_file():
            if required:
                raise InputError(f"{path}: file does not exist")
            return
        with open(path, "rb") as file:
            offset = 0
            for line in file:
                self._offsets.setdefault(line.split(b"\t", 1)[0], offset)
                offset += len(line)

    def find(self, key: bytes) -> list[dict[str, Any]] | None:
        """Return the objects of an image, or ``None`` if it has no line.

        Raises:
            InvalidImageError: If the line is not a list of objects.
        """
        if key not in self._offsets:
            return None
        with open(self.path, "rb") as file:
            file.seek(self._offsets[key])
            content = parse_json(file.readline().partition(b"\t")[2])
        objects = content.get("objects") if isinstance(content, dict) else content
        if not isinstance(objects, list) or not all(isinstance(entry, dict) for entry in objects):
            raise InvalidImageError(f"{self.path.name} has no list of objects")
        return objects


def _read_features(fields: list[bytes], source: Source, labels: _LabelLines) -> RawImage:
    repaired: list[str] = []
    if len(fields) == 2:
        content = parse_json(fields[1])
        if not isinstance(content, dict) or not isinstance(content.get("features"), str):
            raise InvalidImageError("features are missing")
        count, text = content.get("num_boxes"), content["features"].encode()
    elif len(fields) > 2:
        count, text = parse_int(fields[1], "num_boxes"), fields[-1]
    else:
        raise InvalidImageError("row must have at least 2 fields, got 1")
    if type(count) is not int or count < 1:
        raise InvalidImageError(f"num_boxes must be an integer of at least 1, got {count!r:.40}")
    array = decode_array(text, "<f4", (count, -1), "features", repaired)
    if array.shape[1] <= _SPATIAL:
        raise InvalidImageError(
            f"a region must have more than {_SPATIAL} numbers, of which {_SPATIAL} are its box, "
            f"got {array.shape[1]}"
        )
    features, fractions = np.ascontiguousarray(array[:, :-_SPATIAL]), array[:, -_SPATIAL:]
    if not ((fractions > -0.1) & (fractions < 1.1)).all():
        raise InvalidImageError(
            f"the last {_SPATIAL} of {array.shape[1]} numbers of a region are not its box as fractions"
        )
    objects = labels.find(fields[0])
    if objects is None or len(objects) != count or not all("rect" in entry for entry in objects):
        return RawImage(features, fractions[:, :4], None, normalized=True, repaired=tuple(repaired))
    boxes = parse_boxes(objects)
    return RawImage(
        features, boxes, infer_size(boxes, fractions), parse_labels(objects, source), repaired=tuple(repaired)
    )


def write_features(export: Export) -> None:
    """Write a store as the files that Oscar reads: features, line offsets, labels with boxes, and sizes.

    Raises:
        InputError: If the name of the file does not end in ``.tsv``, or the files cannot be written.
    """
    report_missing_names(export)
    extensions = ("lineidx", "label.tsv", "hw.tsv")
    outs = [export.out, *(companion_path(export.out, extension) for extension in extensions)]
    if len(set(outs)) < len(outs):
        raise InputError(f"{export.out}: file name must end in .tsv")
    with contextlib.ExitStack() as stack:
        partials = stack.enter_context(atomic_files(*outs))
        file, index, labels, sizes = (stack.enter_context(open(path, "wb")) for path in partials)
        for image, regions in export.images():
            key = encode_id(image, export.out)
            array = np.concatenate([regions.features, spatial_features(regions)], 1)
            content = {"num_boxes": len(regions), "features": encode_array(array, "<f4").decode()}
            index.write(b"%d\n" % file.tell())
            file.write(key + b"\t" + json.dumps(content).encode() + b"\n")
            labels.write(key + b"\t" + json.dumps(make_objects(export, regions)).encode() + b"\n")
            sizes.write(key + b"\t" + format_size(regions) + b"\n")
