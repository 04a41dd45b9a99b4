"""Given boxes: what to extract instead of proposals, from a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.io.json_file import read_json, records
from bua.store.reader import FeatureStore, ImageId


@dataclass(frozen=True)
class GivenBoxes:
    """The given boxes of an image.

    Attributes:
        boxes: (K, 4), x1 y1 x2 y2 in pixels.
        size: height and width of the image that they were made for, where the file says so.
    """

    boxes: NDArray[np.float32]
    size: tuple[int, int] | None = None

    def problem(self, size: tuple[int, int]) -> str | None:
        """Say what is wrong with the boxes for a photograph of height and width ``size``, if anything."""
        height, width = size
        if self.size is not None and self.size != size:
            return f"its boxes are of an image of {self.size[1]} x {self.size[0]}, not {width} x {height}"
        if self.boxes.max() <= 1 and min(size) > 1:
            return "its boxes look like parts of the image, from 0 to 1; pixels are needed"
        if (self.boxes < -1).any() or (self.boxes > np.array([width, height] * 2) + 1).any():
            return f"its boxes leave the image of {width} x {height}"
        return None


def read_boxes(file: Path | str) -> dict[ImageId, GivenBoxes]:
    """Return the boxes of every image in a file, in the order of the file.

    The file is a feature store (``.h5``), whose boxes are taken; or a JSON: COCO's instances, with
    ``annotations`` of ``image_id`` and ``bbox`` (x, y, width, height), or a list of objects with
    ``image_id`` and ``boxes`` (x1, y1, x2, y2). Pixels of the photograph after EXIF rotation.

    Raises:
        InputError: there is no such file, or a box in it is none.
    """
    path = Path(file)
    if path.suffix in (".h5", ".hdf5"):
        store = FeatureStore(path)
        return {i: GivenBoxes(np.array(store[i].boxes), store[i].size) for i in store}
    content = read_json(path)
    found: dict[ImageId, list[list[float]]] = {}
    sizes: dict[ImageId, tuple[int, int]] = {}
    if isinstance(content, Mapping):
        for image in content.get("images", []):
            if isinstance(image, dict) and {"id", "width", "height"} <= image.keys():
                sizes[image["id"]] = (image["height"], image["width"])
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
    return {image_id: GivenBoxes(array, sizes.get(image_id)) for image_id, array in arrays.items()}


def _four(box: Any, where: str) -> list[float]:
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, int | float) for v in box):
        raise InputError(f"{where} is {box}; four numbers are needed")
    return box
