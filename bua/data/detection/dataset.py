"""Images with boxes, classes and attributes for training a detector, from COCO instances files.

Attributes extend that format as in other work on Visual Genome: the file has a list ``attributes`` of
``{"id", "name"}``, and an annotation may have ``attribute_ids``.

Shapes: M boxes of an image, A attributes.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from bua.data.datamodule import EpochSampler
from bua.detectors.photo import FORMATS, read_photo
from bua.detectors.photo_files import resolve_name
from bua.detectors.photo_remarks import Remark, describe_remarks
from bua.errors import InputError
from bua.io.coco import coco_categories, coco_images, resolver
from bua.io.files import read_json
from bua.io.orientation import read_header, turn_boxes
from bua.io.schema import Box, Id, Integer, Pixels, records

log = logging.getLogger(__name__)

#: An image (3, H, W) of 8 bits, its targets, and its id.
Example = tuple[Tensor, dict[str, Tensor], int]

#: Pixels by which a box may leave its image through rounding: COCO rounds to hundredths of a pixel.
ROUNDING = 0.02


class _Image(TypedDict):
    id: Integer
    file_name: NotRequired[str | None]
    width: Pixels
    height: Pixels


class _Annotation(TypedDict):
    id: Id
    image_id: Id
    category_id: Id
    bbox: Box
    iscrowd: NotRequired[int | bool | None]
    attribute_ids: NotRequired[list[Id]]


class AnnotatedImage(NamedTuple):
    """An image of an instances file; width and height are in pixels."""

    image_id: int
    file_name: str
    width: int
    height: int


class DetectionDataset(Dataset[Example]):
    """Images with boxes, one example for each image that has at least one box.

    An example is the image (3, H, W) from 0 to 255, its targets, and its id. The targets are

    - ``boxes`` (M, 4): x1 y1 x2 y2 in pixels;
    - ``labels`` (M,): positions among the classes, from 1;
    - ``attributes`` (M, A + 1): one column an attribute, after a first one that means "no attribute". The
      first is set where ``attribute_ids`` is an empty list. Where an annotation has no such list its
      attributes are unknown, and no column is set;
    - ``crowd`` (M,): whether a box is a crowd.

    Crowds (``iscrowd`` 1), boxes outside their image, and images without any other box are left out. Boxes
    that partly leave the image are clipped to it. ``check_photos`` also leaves out images that are missing,
    damaged, or of another size than the file says; if the file has the size before EXIF rotation, the boxes
    are turned with the image. ``changes`` counts all of these, and ``problems`` has a line about every image
    that cannot be used.

    Args:
        path: Path of the COCO instances.
        images: Folder of the image files.
        flip: Whether to mirror half of the images, which depend only on seed, epoch and index.
        seed: Seed of the flips. Default: 0.
        names: Names of classes and attributes that determine the indices. Default: those of the file, in
            order.
        keep_all: Whether to keep crowds and images without boxes, as evaluation needs them. Default: no.

    Raises:
        InputError: If the file is broken or names a class or attribute that is not among ``names``; when
            an example is read, if its image has another size than the file says.
    """

    def __init__(
        self,
        path: Path | str,
        images: Path | str,
        *,
        flip: bool,
        seed: int = 0,
        names: tuple[Sequence[str], Sequence[str]] | None = None,
        keep_all: bool = False,
    ) -> None:
        self.path, self.folder, self.flip, self.seed = Path(path), Path(images), flip, seed
        self._sampler: EpochSampler | None = None
        self._reported: set[str] = set()
        content = read_json(path)
        classes = coco_categories(content, path)
        attributes = coco_categories(content, path, "attributes") if "attributes" in content else {}
        own = [*classes.values()], [*attributes.values()]
        self.classes, self.attributes = (tuple(each) for each in names or own)
        self._class = self._positions(classes, self.classes, "category")
        self._attribute = self._positions(attributes, self.attributes, "attribute")
        found = coco_images(content, path, schema=_Image, named=True)
        places = {image["id"]: n for n, image in enumerate(found)}
        if len(places) < len(found):
            duplicate = next(i["id"] for n, i in enumerate(found) if places[i["id"]] != n)
            raise InputError(f"{path}: image {duplicate} is duplicated in images")
        image_of, class_of = resolver(places), resolver(self._class)
        annotations = [
            {**a, "image_id": image_of(a["image_id"]), "category_id": class_of(a["category_id"])}
            for a in records(content, path, "annotations", _Annotation)
        ]
        for annotation in annotations:
            self._check(annotation, places)
        single = [a for a in annotations if keep_all or not a.get("iscrowd")]
        self.keep_all, self.problems = keep_all, dict[str, str]()
        self.max_errors: int | None = None
        self._rows: list[slice] = []
        self.images, self.changes = self._keep(found, places, single, keep_all)
        self.changes["crowds"] = len(annotations) - len(single)
        if not len(self._labels):
            raise InputError(f"{path}: no image has a box")

    def check_photos(self, max_errors: int | None = None) -> None:
        """Read the header of every image, turn boxes with EXIF, and leave out images that cannot be used.

        Args:
            max_errors: Maximum number of images that may be missing, damaged or of another size than the
                file says. Default: no limit.

        Raises:
            InputError: If there are more, or no image is left.
        """
        self.max_errors = max_errors
        kept, turned = [], 0
        for n, entry in enumerate(self.images):
            try:
                is_turned = self._fit_boxes(entry, self._rows[n])
            except InputError as error:
                self._report(entry, str(error))
                continue
            kept.append(n)
            if is_turned:
                self.images[n] = entry._replace(width=entry.height, height=entry.width)
                turned += 1
        self.images, self._rows = [self.images[n] for n in kept], [self._rows[n] for n in kept]
        if not kept:
            raise InputError(f"{self.path}: no image can be used; {next(iter(self.problems.values()))}")
        self.changes["images turned by EXIF, with their boxes"] = turned
        self.changes["images that are missing, damaged or of another size"] = len(self.problems)

    def _fit_boxes(self, entry: AnnotatedImage, rows: slice) -> bool:
        """Turn the boxes of an image if they are those of the stored image; return whether they were.

        Raises:
            InputError: If the image is missing, damaged or of another size.
        """
        path = self._photo_path(entry)
        header = read_header(path, FORMATS)
        if header.turned_size == (entry.width, entry.height):
            return False
        if header.has_unturned_size(entry.width, entry.height):
            self._boxes[rows] = turn_boxes(self._boxes[rows], header)
            return True
        raise InputError(self._other_size(entry, header.turned_size))

    def _other_size(self, entry: AnnotatedImage, size: tuple[int, int]) -> str:
        return (
            f"{self._photo_path(entry)}: has {size[0]} x {size[1]} pixels, but {self.path} says "
            f"{entry.width} x {entry.height}, so its boxes cannot fit"
        )

    def _photo_path(self, entry: AnnotatedImage) -> Path:
        return resolve_name(self.folder, entry.file_name)

    def _report(self, entry: AnnotatedImage, problem: str) -> None:
        """Record that an image cannot be used.

        Raises:
            InputError: If there are now more of them than ``max_errors``.
        """
        self.problems[entry.file_name] = problem
        if self.max_errors is not None and len(self.problems) > self.max_errors:
            raise InputError(f"more than max_errors={self.max_errors} images cannot be used; {problem}")

    def _positions(self, listed: Mapping[Id, str], names: Sequence[str], what: str) -> dict[Id, int]:
        """Return the position in ``names``, from 1, of every id of the file."""
        places = {name: n for n, name in enumerate(names, 1)}
        if unknown := [name for name in listed.values() if name not in places]:
            raise InputError(f"{self.path}: {what} {unknown[0]!r} is not one of those to train on")
        return {number: places[name] for number, name in listed.items()}

    def _check(self, annotation: Any, places: Mapping[int, int]) -> None:
        where = f"{self.path}: annotation {annotation['id']}"
        if annotation["image_id"] not in places:
            raise InputError(f"{where} refers to image {annotation['image_id']}, which is not in images")
        if annotation["category_id"] not in self._class:
            raise InputError(f"{where}: category {annotation['category_id']} is not in categories")
        for attribute in annotation.get("attribute_ids", []):
            if attribute not in self._attribute:
                raise InputError(f"{where}: attribute {attribute} is not in attributes")

    def _keep(
        self, images: list[Any], places: Mapping[int, int], annotations: list[Any], keep_all: bool
    ) -> tuple[list[AnnotatedImage], dict[str, int]]:
        """Store boxes end to end, image by image; return the images that are kept, and counts of changes."""
        rows = np.array([places[a["image_id"]] for a in annotations], np.int64)
        boxes = np.array([a["bbox"] for a in annotations], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        sizes = np.array([[i["width"], i["height"]] * 2 for i in images], np.float64).reshape(-1, 4)[rows]
        clipped = boxes.clip(0, sizes)
        inside = clipped.astype(np.float32)
        good = (inside[:, 2:] > inside[:, :2]).all(1)
        moved = np.abs(clipped - boxes).max(1, initial=0) > ROUNDING
        order = np.flatnonzero(good)
        order = order[np.argsort(rows[order], kind="stable")]
        kept = [annotations[n] for n in order]
        self._boxes = inside[order]
        self._labels = np.array([self._class[a["category_id"]] for a in kept], np.int64)
        self._crowd = np.array([bool(a.get("iscrowd")) for a in kept], np.bool_)
        columns = [self._columns(a) for a in kept]
        self._column = np.array([column for row in columns for column in row], np.int64)
        self._stop = np.array([0, *map(len, columns)], np.int64).cumsum()
        counts = np.bincount(rows[order], minlength=len(images))
        stops = counts.cumsum()
        kept_images = np.arange(len(images)) if keep_all else np.flatnonzero(counts)
        self._rows = [slice(int(stops[n] - counts[n]), int(stops[n])) for n in kept_images]
        kept_entries = [
            AnnotatedImage(i["id"], i["file_name"], i["width"], i["height"])
            for i in (images[n] for n in kept_images)
        ]
        changes = {
            "boxes outside their image": int((~good).sum()),
            "boxes clipped to their image": int((good & moved).sum()),
            "images without boxes": len(images) - len(kept_images),
        }
        return kept_entries, changes

    def _columns(self, annotation: Any) -> list[int]:
        """Return the columns of an annotation's attributes: the first if it is known to have none."""
        if "attribute_ids" not in annotation:
            return []
        return [self._attribute[a] for a in annotation["attribute_ids"]] or [0]

    def set_sampler(self, sampler: EpochSampler) -> None:
        """Take the epoch, on which the flips depend, from a sampler.

        The worker processes of a loader are restarted for every pass, with the epoch of its start.
        """
        self._sampler = sampler

    def is_flipped(self, index: int) -> bool:
        """Return whether an example is mirrored in the current epoch."""
        epoch = self._sampler.epoch if self._sampler else 0
        return self.flip and bool(np.random.default_rng([self.seed, epoch, index]).random() < 0.5)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Example:
        entry = self.images[index]
        try:
            photo = read_photo(self._photo_path(entry), report=partial(self._report_remark, entry))
            pixels = torch.from_numpy(photo).permute(2, 0, 1)
        except InputError as error:  # damaged behind its header
            if self.keep_all:  # a score over other images would be wrong
                raise
            self._report(entry, str(error))
            log.warning(f"{error}; another image takes its place")
            if len(self.problems) > len(self):
                raise
            return self[(index + 1) % len(self)]
        height, width = pixels.shape[1:]
        if (width, height) != (entry.width, entry.height):
            raise InputError(self._other_size(entry, (width, height)))
        target = self._target(self._rows[index])
        if self.is_flipped(index):
            pixels = pixels.flip(-1)
            x1, y1, x2, y2 = target["boxes"].unbind(1)
            target["boxes"] = torch.stack([width - x2, y1, width - x1, y2], 1)
        return pixels, target, entry.image_id

    def _report_remark(self, entry: AnnotatedImage, remark: Remark) -> None:
        """Log the first remark of its kind in this process, in the first epoch."""
        if remark.kind in self._reported or (self._sampler and self._sampler.epoch):
            return
        self._reported.add(remark.kind)
        line = next(describe_remarks([(str(self._photo_path(entry)), remark)]))
        log.warning(f"{line}; other images are not named")

    def _target(self, rows: slice) -> dict[str, Tensor]:
        stops = self._stop[rows.start : rows.stop + 1]
        attributes = torch.zeros(len(stops) - 1, len(self.attributes) + 1, dtype=torch.bool)
        row = torch.from_numpy(np.repeat(np.arange(len(attributes)), np.diff(stops)))
        attributes[row, torch.from_numpy(self._column[stops[0] : stops[-1]])] = True
        return {
            "boxes": torch.from_numpy(self._boxes[rows].copy()),
            "labels": torch.from_numpy(self._labels[rows].copy()),
            "crowd": torch.from_numpy(self._crowd[rows].copy()),
            "attributes": attributes,
        }
