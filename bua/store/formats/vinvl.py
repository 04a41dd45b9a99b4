"""The tab-separated file that VinVL's detector writes.

scene_graph_benchmark (maskrcnn_benchmark/engine/inference.py), ``predictions.tsv``: a key and JSON
``{"objects": [{"rect": [x1, y1, x2, y2], "class": name, "conf": 0.9, "attributes": [names],
"attr_scores": [0.8], "feature": base64 of D float32}]}``, the likeliest attribute first. Sizes stand
in ``.hw.tsv``: a key and ``[{"height": h, "width": w}]``.
"""

import json
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bua.store.formats.export import Export, new_files
from bua.store.formats.item import InvalidImageError, Item, Raw, Source
from bua.store.formats.tsv import decoded, encoded, files, identifier, rows
from bua.structures.regions import Regions


def read_predictions(source: Source) -> Generator[Item, None, None]:
    """Read what the detector writes, one file or a folder of them."""
    for path in files(source.path):
        for where, fields in rows(path):
            key = fields[0].decode("utf-8", "replace")
            yield Item(key, where, partial(_prediction, fields, source))


def _prediction(fields: list[bytes], source: Source) -> Raw:
    if len(fields) != 2:
        raise InvalidImageError(f"{len(fields)} fields, 2 are needed")
    content = json_of(fields[1])
    objects = content.get("objects") if isinstance(content, dict) else content
    if not isinstance(objects, list) or not all(isinstance(each, dict) for each in objects):
        raise InvalidImageError("there is no list of objects")
    if not objects:
        raise InvalidImageError("there are no regions")
    repaired: list[str] = []
    texts = [each.get("feature") for each in objects]
    if not all(isinstance(text, str) for text in texts):
        raise InvalidImageError("an object has no feature")
    vectors = [decoded(text.encode(), "<f4", (1, -1), "feature", repaired)[0] for text in texts]
    if len({len(vector) for vector in vectors}) > 1:
        raise InvalidImageError("features of different lengths")
    return Raw(
        np.stack(vectors),
        boxes_of(objects),
        None,
        labels_of(objects, source),
        repaired=tuple(dict.fromkeys(repaired)),
    )


def json_of(text: bytes) -> Any:
    """Return the content of a field of JSON, or raise ``InvalidImageError``."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidImageError(f"not JSON ({error})") from None


def boxes_of(objects: list[dict[str, Any]]) -> NDArray[np.float32]:
    """Return the boxes (n, 4) of objects, or raise ``InvalidImageError``."""
    try:
        boxes = np.array([each["rect"] for each in objects], np.float32)
    except (KeyError, ValueError, TypeError):
        raise InvalidImageError("an object has no rect of four numbers") from None
    if boxes.shape != (len(objects), 4):
        raise InvalidImageError("an object has no rect of four numbers")
    return boxes


def labels_of(objects: list[dict[str, Any]], source: Source) -> dict[str, NDArray[Any]]:
    """Return classes and attributes as numbers, where the names of all of them are known."""
    columns: dict[str, NDArray[Any]] = {}
    if source.class_names and all("class" in each for each in objects):
        columns["class_id"] = _positions([each["class"] for each in objects], source.class_names, "class")
    if all("conf" in each for each in objects):
        columns["class_score"] = _scores([each["conf"] for each in objects])
    if source.attribute_names and all(each.get("attributes") for each in objects):
        first = [each["attributes"][0] for each in objects]
        columns["attribute_id"] = _positions(first, source.attribute_names, "attribute")
        if all(each.get("attr_scores") for each in objects):
            columns["attribute_score"] = _scores([each["attr_scores"][0] for each in objects])
    return columns


def _positions(names: list[Any], vocabulary: Any, kind: str) -> NDArray[np.int32]:
    known: dict[Any, int] = {}
    for n, name in enumerate(vocabulary):
        known.setdefault(name, n)
    try:
        return np.array([known[name] for name in names], np.int32)
    except (KeyError, TypeError) as error:
        raise InvalidImageError(f"{kind} {error} is not in the vocabulary") from None


def _scores(values: list[Any]) -> NDArray[np.float32]:
    try:
        return np.array(values, np.float32)
    except (ValueError, TypeError):
        raise InvalidImageError("a score is not a number") from None


def beside(path: Path, ending: str) -> Path:
    """Return the path of a file that goes with another: ``val.feature.tsv`` has ``val.label.tsv``."""
    stem = path.name.removesuffix(".tsv").removesuffix(".feature").removesuffix(".features")
    return path.with_name(f"{stem}.{ending}")


def write_predictions(export: Export) -> None:
    """Write what the detector writes, and the sizes beside it."""
    tell_unnamed(export)
    places = (export.out, beside(export.out, "hw.tsv"))
    with new_files(*places) as (path, sizes), open(path, "wb") as file, open(sizes, "wb") as hw:
        for image, regions in export.images():
            key = identifier(image, export.out)
            objects = described(export, regions)
            for each, vector in zip(objects, regions.features, strict=True):
                each["feature"] = encoded(vector, "<f4").decode()
            file.write(key + b"\t" + json.dumps({"objects": objects}).encode() + b"\n")
            hw.write(key + b"\t" + size_line(regions) + b"\n")


def tell_unnamed(export: Export) -> None:
    """Tell which columns are left out because there are no names for their numbers."""
    metadata = export.store.metadata
    for column, names in (("class_id", metadata.class_names), ("attribute_id", metadata.attribute_names)):
        if column in export.columns and not names:
            export.report(f"{column}: the store has no names for it, and the format no numbers: left out")


def described(export: Export, regions: Regions) -> list[dict[str, Any]]:
    """Return the objects of an image: boxes, names and scores."""
    metadata, arrays = (
        export.store.metadata,
        {k: v.tolist() for k, v in regions.arrays().items() if v.ndim == 1},
    )
    objects: list[dict[str, Any]] = [
        {"rect": box, "bbox_id": n} for n, box in enumerate(regions.boxes.tolist())
    ]
    for n, each in enumerate(objects):
        if "class_id" in arrays and metadata.class_names:
            each["class"] = metadata.class_names[arrays["class_id"][n]]
        if "class_score" in arrays:
            each["conf"] = arrays["class_score"][n]
        if "attribute_id" in arrays and metadata.attribute_names:
            each["attributes"] = [metadata.attribute_names[arrays["attribute_id"][n]]]
            if "attribute_score" in arrays:
                each["attr_scores"] = [arrays["attribute_score"][n]]
    return objects


def size_line(regions: Regions) -> bytes:
    """Return the second field of a line of ``.hw.tsv``."""
    return json.dumps([{"height": regions.size[0], "width": regions.size[1]}]).encode()
