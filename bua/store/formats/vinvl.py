"""The tab-separated file of VinVL's detector.

scene_graph_benchmark (maskrcnn_benchmark/engine/inference.py), ``predictions.tsv``: a key and JSON
``{"objects": [{"rect": [x1, y1, x2, y2], "class": name, "conf": 0.9, "attributes": [names],
"attr_scores": [0.8], "feature": base64 of D float32}]}``, with the most likely attribute first. Sizes are
in a separate file ``.hw.tsv``: a key and ``[{"height": h, "width": w}]``.
"""

import json
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bua.io.write import atomic_files
from bua.store.formats.export import Export
from bua.store.formats.source import InvalidImageError, RawImage, Source, SourceImage
from bua.store.formats.tsv import decode_array, encode_array, encode_id, read_rows, tsv_files
from bua.structures.regions import Regions


def read_predictions(source: Source) -> Generator[SourceImage, None, None]:
    """Yield the images of a file or folder.

    Raises:
        InputError: If the file does not exist, or the folder has no such files.
    """
    for path in tsv_files(source.path):
        for location, fields in read_rows(path):
            key = fields[0].decode("utf-8", "replace")
            yield SourceImage(key, location, partial(_read_prediction, fields, source))


def _read_prediction(fields: list[bytes], source: Source) -> RawImage:
    if len(fields) != 2:
        raise InvalidImageError(f"row must have 2 fields, got {len(fields)}")
    content = parse_json(fields[1])
    objects = content.get("objects") if isinstance(content, dict) else content
    if not isinstance(objects, list) or not all(isinstance(entry, dict) for entry in objects):
        raise InvalidImageError("list of objects is missing")
    if not objects:
        raise InvalidImageError("has no regions")
    repaired: list[str] = []
    texts = [entry.get("feature") for entry in objects]
    if not all(isinstance(text, str) for text in texts):
        raise InvalidImageError("an object has no feature")
    vectors = [decode_array(text.encode(), "<f4", (1, -1), "feature", repaired)[0] for text in texts]
    if len({len(vector) for vector in vectors}) > 1:
        raise InvalidImageError("features have different lengths")
    return RawImage(
        np.stack(vectors),
        parse_boxes(objects),
        None,
        parse_labels(objects, source),
        repaired=tuple(dict.fromkeys(repaired)),
    )


def parse_json(text: bytes) -> Any:
    """Return the content of a field in JSON.

    Raises:
        InvalidImageError: If the field is not valid JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidImageError(f"not valid JSON ({error})") from None


def parse_boxes(objects: list[dict[str, Any]]) -> NDArray[np.float32]:
    """Return the boxes of objects, shape (n, 4).

    Raises:
        InvalidImageError: If an object has no valid box.
    """
    try:
        boxes = np.array([entry["rect"] for entry in objects], np.float32)
    except (KeyError, ValueError, TypeError):
        raise InvalidImageError("an object has no rect of four numbers") from None
    if boxes.shape != (len(objects), 4):
        raise InvalidImageError("an object has no rect of four numbers")
    return boxes


def parse_labels(objects: list[dict[str, Any]], source: Source) -> dict[str, NDArray[Any]]:
    """Return the ids and scores of classes and attributes.

    Args:
        objects: Objects of an image.
        source: Source with the names of classes and attributes; without names there are no ids.

    Returns:
        Columns of the store that all objects have, shape (n,) each.

    Raises:
        InvalidImageError: If a name is not in the vocabulary, or a score is not a number.
    """
    columns: dict[str, NDArray[Any]] = {}
    if source.class_names and all("class" in entry for entry in objects):
        columns["class_id"] = _look_up([entry["class"] for entry in objects], source.class_names, "class")
    if all("conf" in entry for entry in objects):
        columns["class_score"] = _parse_scores([entry["conf"] for entry in objects])
    if source.attribute_names and all(entry.get("attributes") for entry in objects):
        first = [entry["attributes"][0] for entry in objects]
        columns["attribute_id"] = _look_up(first, source.attribute_names, "attribute")
        if all(entry.get("attr_scores") for entry in objects):
            columns["attribute_score"] = _parse_scores([entry["attr_scores"][0] for entry in objects])
    return columns


def _look_up(names: list[Any], vocabulary: Any, kind: str) -> NDArray[np.int32]:
    ids: dict[Any, int] = {}
    for n, name in enumerate(vocabulary):
        ids.setdefault(name, n)
    try:
        return np.array([ids[name] for name in names], np.int32)
    except (KeyError, TypeError) as error:
        raise InvalidImageError(f"{kind} {error} is not in the vocabulary") from None


def _parse_scores(values: list[Any]) -> NDArray[np.float32]:
    try:
        return np.array(values, np.float32)
    except (ValueError, TypeError):
        raise InvalidImageError("a score is not a number") from None


def companion_path(path: Path, extension: str) -> Path:
    """Return the path of a file that belongs to another: ``val.label.tsv`` belongs to ``val.feature.tsv``."""
    stem = path.name.removesuffix(".tsv").removesuffix(".feature").removesuffix(".features")
    return path.with_name(f"{stem}.{extension}")


def write_predictions(export: Export) -> None:
    """Write a store as the file of the detector and a separate file of sizes."""
    report_missing_names(export)
    outs = (export.out, companion_path(export.out, "hw.tsv"))
    with atomic_files(*outs) as (path, sizes), open(path, "wb") as file, open(sizes, "wb") as hw:
        for image, regions in export.images():
            key = encode_id(image, export.out)
            objects = make_objects(export, regions)
            for entry, vector in zip(objects, regions.features, strict=True):
                entry["feature"] = encode_array(vector, "<f4").decode()
            file.write(key + b"\t" + json.dumps({"objects": objects}).encode() + b"\n")
            hw.write(key + b"\t" + format_size(regions) + b"\n")


def report_missing_names(export: Export) -> None:
    """Report columns that are left out because the store has no names for their ids."""
    metadata = export.store.metadata
    for column, names in (("class_id", metadata.class_names), ("attribute_id", metadata.attribute_names)):
        if column in export.columns and not names:
            export.report(f"{column}: left out, the format needs names, which the store does not have")


def make_objects(export: Export, regions: Regions) -> list[dict[str, Any]]:
    """Return the objects of an image with boxes, names and scores."""
    metadata, arrays = (
        export.store.metadata,
        {k: v.tolist() for k, v in regions.arrays().items() if v.ndim == 1},
    )
    objects: list[dict[str, Any]] = [
        {"rect": box, "bbox_id": n} for n, box in enumerate(regions.boxes.tolist())
    ]
    for n, entry in enumerate(objects):
        if "class_id" in arrays and metadata.class_names:
            entry["class"] = metadata.class_names[arrays["class_id"][n]]
        if "class_score" in arrays:
            entry["conf"] = arrays["class_score"][n]
        if "attribute_id" in arrays and metadata.attribute_names:
            entry["attributes"] = [metadata.attribute_names[arrays["attribute_id"][n]]]
            if "attribute_score" in arrays:
                entry["attr_scores"] = [arrays["attribute_score"][n]]
    return objects


def format_size(regions: Regions) -> bytes:
    """Return the size of an image as the second field of a row of ``.hw.tsv``."""
    return json.dumps([{"height": regions.size[0], "width": regions.size[1]}]).encode()
