"""Given boxes: what to extract instead of proposals, from a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.json_file import read_json, records
from bua.store.reader import FeatureStore, ImageId


def read_boxes(file: Path | str) -> dict[ImageId, NDArray[np.float32]]:
    """Return the boxes of every image in a file, (K, 4) as x1 y1 x2 y2, in the order of the file.

    The file is a feature store (``.h5``), whose boxes are taken; or a JSON: COCO's instances, with
    ``annotations`` of ``image_id`` and ``bbox`` (x, y, width, height), or a list of objects with
    ``image_id`` and ``boxes`` (x1, y1, x2, y2). Pixels of the photograph after EXIF rotation.

    Raises:
        InputError: there is no such file, or a box in it is none.
    """
    path = Path(file)
    if path.suffix in (".h5", ".hdf5"):
        store = FeatureStore(path)
        return {image_id: np.array(store[image_id].boxes) for image_id in store}
    content = read_json(path)
    found: dict[ImageId, list[list[float]]] = {}
    if isinstance(content, Mapping):
        kinds: dict[str, Any] = {"image_id": (int, str), "bbox": list}
        for n, entry in enumerate(records(content, path, "annotations", kinds)):
            x, y, width, height = _four(entry["bbox"], f"{path}: annotations[{n}]: bbox")
            found.setdefault(entry["image_id"], []).append([x, y, x + width, y + height])
    elif isinstance(content, list):
        for n, entry in enumerate(content):
            if not isinstance(entry, dict) or not isinstance(entry.get("boxes"), list):
                raise InputError(f"{path}: [{n}] needs image_id and boxes, a list of [x1, y1, x2, y2]")
            boxes = [_four(box, f"{path}: [{n}]: a box") for box in entry["boxes"]]
            if entry.get("image_id") in found:
                raise InputError(f"{path}: [{n}]: image {entry['image_id']!r} comes twice")
            found[entry["image_id"]] = boxes
    else:
        raise InputError(f"{path}: neither COCO instances nor a list of image_id and boxes")
    arrays = {image_id: np.array(boxes, np.float32).reshape(-1, 4) for image_id, boxes in found.items()}
    for image_id, array in arrays.items():
        if not len(array) or (array[:, 2:] <= array[:, :2]).any() or not np.isfinite(array).all():
            raise InputError(f"{path}: image {image_id!r}: at least one box, each with an area, is needed")
    return arrays


def _four(box: Any, where: str) -> list[float]:
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, int | float) for v in box):
        raise InputError(f"{where} is {box}; four numbers are needed")
    return box
