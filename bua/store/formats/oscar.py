"""The tab-separated files that Oscar reads, of VinVL's features and of others.

oscar/run_captioning.py: ``features.tsv`` with a key and JSON ``{"num_boxes": n, "features": base64 of
(n, D + 6) float32}``, the last six the box as fractions x1 y1 x2 y2 w h; for pretraining
(oscar/datasets/oscar_tsv.py) key, count and base64 as columns. ``.label.tsv`` beside it: a key and
JSON ``[{"class": name, "conf": 0.9, "rect": [x1, y1, x2, y2]}]``. ``.lineidx``: where each line begins.
``.hw.tsv``: a key and ``[{"height": h, "width": w}]``.
"""

import contextlib
import json
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bua.errors import InputError
from bua.store.formats.export import Export, new_files
from bua.store.formats.hengyuan import size_of, spatial_features
from bua.store.formats.item import InvalidImageError, Item, Raw, Source
from bua.store.formats.tsv import decoded, encoded, files, identifier, rows, whole
from bua.store.formats.vinvl import beside, boxes_of, described, json_of, labels_of, size_line, tell_unnamed

#: Numbers of the box behind those of the feature.
_SPATIAL = 6


def read_features(source: Source) -> Generator[Item, None, None]:
    """Read what Oscar reads; boxes and sizes come from the label file where there is one."""
    for path in files(source.path):
        if path.name.endswith((".label.tsv", ".hw.tsv")):
            continue
        labels = _LabelLines(source.labels or beside(path, "label.tsv"), source.labels is not None)
        for where, fields in rows(path):
            key = fields[0].decode("utf-8", "replace")
            yield Item(key, where, partial(_features, fields, source, labels))


class _LabelLines:
    """Label lines by key: only where each begins is kept."""

    def __init__(self, path: Path, wanted: bool) -> None:
        self.path, self._starts = path, dict[bytes, int]()
        if not path.is_file():
            if wanted:
                raise InputError(f"{path}: there is no such file")
            return
        with open(path, "rb") as file:
            start = 0
            for line in file:
                self._starts.setdefault(line.split(b"\t", 1)[0], start)
                start += len(line)

    def find(self, key: bytes) -> list[dict[str, Any]] | None:
        """Return the objects of an image."""
        if key not in self._starts:
            return None
        with open(self.path, "rb") as file:
            file.seek(self._starts[key])
            content = json_of(file.readline().partition(b"\t")[2])
        objects = content.get("objects") if isinstance(content, dict) else content
        if not isinstance(objects, list) or not all(isinstance(each, dict) for each in objects):
            raise InvalidImageError(f"{self.path.name} has no list of objects")
        return objects


def _features(fields: list[bytes], source: Source, labels: _LabelLines) -> Raw:
    repaired: list[str] = []
    if len(fields) == 2:
        content = json_of(fields[1])
        if not isinstance(content, dict) or not isinstance(content.get("features"), str):
            raise InvalidImageError("there are no features")
        count, text = content.get("num_boxes"), content["features"].encode()
    elif len(fields) > 2:
        count, text = whole(fields[1], "num_boxes"), fields[-1]
    else:
        raise InvalidImageError("1 field, 2 are needed")
    if type(count) is not int or count < 1:
        raise InvalidImageError(f"num_boxes is {count!r:.40}")
    both = decoded(text, "<f4", (count, -1), "features", repaired)
    if both.shape[1] <= _SPATIAL:
        raise InvalidImageError(f"features are {both.shape[1]} wide, of which {_SPATIAL} are the box")
    features, fractions = np.ascontiguousarray(both[:, :-_SPATIAL]), both[:, -_SPATIAL:]
    if not ((fractions > -0.1) & (fractions < 1.1)).all():
        raise InvalidImageError(f"the last {_SPATIAL} of {both.shape[1]} numbers are not fractions of a box")
    objects = labels.find(fields[0])
    if objects is None or len(objects) != count or not all("rect" in each for each in objects):
        return Raw(features, fractions[:, :4], None, fractions=True, repaired=tuple(repaired))
    boxes = boxes_of(objects)
    return Raw(
        features, boxes, size_of(boxes, fractions), labels_of(objects, source), repaired=tuple(repaired)
    )


def write_features(export: Export) -> None:
    """Write what Oscar reads: features, where its lines begin, labels with boxes, and sizes."""
    tell_unnamed(export)
    endings = ("lineidx", "label.tsv", "hw.tsv")
    places = [export.out, *(beside(export.out, ending) for ending in endings)]
    if len(set(places)) < len(places):
        raise InputError(f"{export.out}: give a name that ends in .tsv")
    with contextlib.ExitStack() as stack:
        partials = stack.enter_context(new_files(*places))
        file, index, labels, sizes = (stack.enter_context(open(path, "wb")) for path in partials)
        for image, regions in export.images():
            key = identifier(image, export.out)
            both = np.concatenate([regions.features, spatial_features(regions)], 1)
            content = {"num_boxes": len(regions), "features": encoded(both, "<f4").decode()}
            index.write(b"%d\n" % file.tell())
            file.write(key + b"\t" + json.dumps(content).encode() + b"\n")
            labels.write(key + b"\t" + json.dumps(described(export, regions)).encode() + b"\n")
            sizes.write(key + b"\t" + size_line(regions) + b"\n")
