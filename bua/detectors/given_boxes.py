"""Given boxes: boxes from a file that features are extracted for, instead of proposals."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.io.coco import coco_images, resolver
from bua.io.files import file_sha256, read_json
from bua.io.orientation import read_header, turn_boxes
from bua.io.schema import Box, Id, find_mismatch, records
from bua.store.reader import FeatureStore
from bua.structures.annotations import ImageId


@dataclass(frozen=True)
class ImageBoxes:
    """The given boxes of one image.

    Attributes:
        boxes: Boxes as x1 y1 x2 y2 in pixels, shape (K, 4).
        size: Height and width of the image that the boxes were made for, or None if unknown.
    """

    boxes: NDArray[np.float32]
    size: tuple[int, int] | None = None

    def for_photo(self, size: tuple[int, int], path: Path) -> NDArray[np.float32]:
        """Return the boxes in a decoded image; those of an image that EXIF turns are turned with it.

        Args:
            size: Height and width of the decoded image.
            path: File of the image.

        Raises:
            InputError: If the boxes cannot belong to the image.
        """
        if self.size is not None and self.size != size:
            header = read_header(path)
            if header.has_unturned_size(self.size[1], self.size[0]):
                return ImageBoxes(turn_boxes(self.boxes, header)).for_photo(size, path)
            raise InputError(
                f"{path}: given boxes are for an image of {self.size[1]} x {self.size[0]}, but this one is "
                f"{size[1]} x {size[0]}"
            )
        self._check(size, path)
        return self.boxes

    def _check(self, size: tuple[int, int], path: Path) -> None:
        height, width = size
        if not len(self.boxes):
            raise InputError(f"{path}: none of its given boxes has an area")
        if self.boxes.max() <= 1 and min(size) > 1:
            raise InputError(f"{path}: given boxes look like fractions from 0 to 1, must be in pixels")
        if (self.boxes < -1).any() or (self.boxes > np.array([width, height] * 2) + 1).any():
            raise InputError(f"{path}: given boxes exceed the image of {width} x {height}")


@dataclass(frozen=True)
class GivenBoxes:
    """The given boxes of a set of images.

    Attributes:
        images: Boxes by image id.
        sha256: SHA-256 of the file, which becomes part of the identity of a store.
    """

    images: Mapping[ImageId, ImageBoxes]
    sha256: str

    def for_image(self, image_id: ImageId, path: Path) -> ImageBoxes:
        """Return the boxes of an image.

        Args:
            image_id: Id of the image.
            path: File of the image, for the message.

        Raises:
            InputError: If there are none.
        """
        if image_id not in self.images:
            id_type = type(next(iter(self.images)))
            hint = "" if isinstance(image_id, id_type) else f"; ids of given boxes are {id_type.__name__}"
            raise InputError(f"{path}: image {image_id!r} has no given boxes{hint}")
        return self.images[image_id]


def read_given_boxes(path: Path | str) -> GivenBoxes:
    """Read the boxes of every image in a file, in pixels of the images after EXIF rotation.

    Args:
        path: A feature store (``.h5``), whose boxes are taken; COCO instances, a JSON with ``annotations``
            that have ``image_id`` and ``bbox`` (x, y, width, height); or a JSON list of objects with
            ``image_id`` and ``boxes`` (x1, y1, x2, y2).

    Raises:
        InputError: If the file does not exist, is of another format, or holds an invalid box.
    """
    path = Path(path)
    if path.suffix in (".h5", ".hdf5"):
        store = FeatureStore(path)
        images = {i: ImageBoxes(np.array(store[i].boxes), store[i].size) for i in store}
    else:
        images = _from_json(path)
    return GivenBoxes(images, file_sha256(path))


class _Annotation(TypedDict):
    image_id: Id
    bbox: Box


class _Entry(TypedDict):
    image_id: Id
    boxes: list[Box]


def _from_json(path: Path) -> dict[ImageId, ImageBoxes]:
    content = read_json(path)
    if isinstance(content, Mapping):
        boxes, sizes = _from_instances(content, path)
    elif isinstance(content, list):
        boxes, sizes = _from_list(content, path), {}
    else:
        raise InputError(f"{path}: must be COCO instances or a list of objects with image_id and boxes")
    if not boxes:
        raise InputError(f"{path}: has no boxes")
    arrays = {i: np.array(image_boxes, np.float32).reshape(-1, 4) for i, image_boxes in boxes.items()}
    kept = {i: array[(array[:, 2:] > array[:, :2]).all(1)] for i, array in arrays.items()}
    if not any(map(len, kept.values())):
        raise InputError(f"{path}: has no box with an area")
    if dropped := sum(map(len, arrays.values())) - sum(map(len, kept.values())):
        print(f"{path}: {dropped} boxes without an area are left out", file=sys.stderr)
    return {image_id: ImageBoxes(array, sizes.get(image_id)) for image_id, array in kept.items()}


def _from_instances(
    content: Mapping[str, Any], path: Path
) -> tuple[dict[ImageId, list[list[float]]], dict[ImageId, tuple[int, int]]]:
    """Return boxes and, as far as they are known, image sizes, by image id."""
    boxes: dict[ImageId, list[list[float]]] = {}
    images = coco_images(content, path) if "images" in content else []
    sizes = {
        image["id"]: (image["height"], image["width"])
        for image in images
        if image.get("width") and image.get("height")
    }
    image_of = resolver(image["id"] for image in images)
    for annotation in records(content, path, "annotations", _Annotation):
        x, y, width, height = annotation["bbox"]
        boxes.setdefault(image_of(annotation["image_id"]), []).append([x, y, x + width, y + height])
    return boxes, sizes


def _from_list(content: list[Any], path: Path) -> dict[ImageId, list[list[float]]]:
    boxes: dict[ImageId, list[list[float]]] = {}
    for n, entry in enumerate(content):
        if mistake := find_mismatch(entry, _Entry):
            raise InputError(f"{path}: [{n}] must have image_id and boxes [[x1, y1, x2, y2]]: {mistake}")
        if entry["image_id"] in boxes:
            raise InputError(f"{path}: [{n}]: image {entry['image_id']!r} is duplicated")
        boxes[entry["image_id"]] = entry["boxes"]
    return boxes
