"""Boxes with classes and attributes for training a detector, from COCO instances files.

Attributes are an extension of that format as in other work on Visual Genome: the file has a list
``attributes`` of ``{"id", "name"}`` and an annotation may have ``attribute_ids``.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bua.data.sampler import EpochSampler, train_loader, val_loader
from bua.detectors.photo import read_photo
from bua.errors import InputError
from bua.io.atomic import write_text
from bua.io.json_file import read_json, records

Example = tuple[Tensor, dict[str, Tensor], int]

log = logging.getLogger(__name__)
#: COCO rounds boxes to hundredths of a pixel; less than this outside of an image is no mistake.
ROUNDING = 0.02
#: No coordinate in pixels is as large; nor is one that is not a number.
FAR = 2**31


class AnnotatedImage(NamedTuple):
    """An image of an instances file; the sides are in pixels."""

    image_id: int
    file_name: str
    width: int
    height: int


class DetectionDataset(Dataset[Example]):
    """Photographs with boxes, one example for each image that has at least one box.

    An example is the image (3, H, W) from 0 to 1, its targets and its id. The targets are ``boxes``
    (M, 4), x1 y1 x2 y2 in pixels; ``labels`` (M,), positions among the classes from 1; ``attributes``
    (M, A + 1), of which the first means "no attribute". It is set where ``attribute_ids`` is an empty
    list; where an annotation has no such list nothing is known, and no attribute is set.

    ``crowd`` (M,) tells which are crowds.

    Left out and counted in ``left_out`` are crowds (``iscrowd`` 1, which are no single thing), boxes
    of which nothing lies in the image, and images without a box that is left; boxes that reach out of
    the image are cut at its edges and counted too.

    Args:
        path: COCO instances.
        images: folder of the photographs.
        flip: mirror half of them; which depends on seed, epoch and index and on nothing else.
        seed: of the flips.
        names: classes and attributes to count by; by default the file's own, in its order.
        whole: keep crowds and images without boxes, on which a detector is scored, too.

    Raises:
        InputError: the file is broken, or names a class or attribute that is not among ``names``; or,
            when an example is read, its photograph is, or has another size than the file says.
    """

    def __init__(
        self,
        path: Path | str,
        images: Path | str,
        *,
        flip: bool,
        seed: int = 0,
        names: tuple[Sequence[str], Sequence[str]] | None = None,
        whole: bool = False,
    ) -> None:
        self.path, self.folder, self.flip, self.seed = Path(path), Path(images), flip, seed
        self._order: EpochSampler | None = None
        content = read_json(path)
        classes = records(content, path, "categories", {"id": int, "name": str})
        attributes = (
            records(content, path, "attributes", {"id": int, "name": str}) if "attributes" in content else []
        )
        own = [c["name"] for c in classes], [a["name"] for a in attributes]
        self.classes, self.attributes = (tuple(each) for each in names or own)
        self._class = self._positions(classes, self.classes, "category")
        self._attribute = self._positions(attributes, self.attributes, "attribute")
        sides: dict[str, type] = {"width": int, "height": int}
        found = records(content, path, "images", {"id": int, "file_name": str, **sides})
        places = {image["id"]: n for n, image in enumerate(found)}
        if len(places) < len(found):
            twice = next(i["id"] for n, i in enumerate(found) if places[i["id"]] != n)
            raise InputError(f"{path}: image {twice} is in images twice")
        kinds = {"id": int, "image_id": int, "category_id": int, "bbox": list}
        annotations = records(content, path, "annotations", kinds)
        for annotation in annotations:
            self._check(annotation, places)
        single = [a for a in annotations if whole or not a.get("iscrowd")]
        self.images, self.left_out = self._keep(found, places, single, whole)
        self.left_out["crowds"] = len(annotations) - len(single)
        if not len(self._labels):
            raise InputError(f"{path}: no image in it has a box")

    def _positions(self, listed: list[Any], names: Sequence[str], what: str) -> dict[int, int]:
        """Return the position in ``names``, from 1, of every id of the file."""
        places = {name: n for n, name in enumerate(names, 1)}
        found: dict[int, int] = {}
        for entry in listed:
            if entry["name"] not in places:
                raise InputError(f"{self.path}: {what} {entry['name']!r} is not one of those trained on")
            if entry["id"] in found:
                raise InputError(f"{self.path}: {what} {entry['id']} is listed twice")
            found[entry["id"]] = places[entry["name"]]
        return found

    def _check(self, annotation: Any, places: Mapping[int, int]) -> None:
        metadata, box = f"{self.path}: annotation {annotation['id']}", annotation["bbox"]
        if annotation["image_id"] not in places:
            raise InputError(f"{metadata} is about image {annotation['image_id']}, which is not in images")
        if annotation["category_id"] not in self._class:
            raise InputError(f"{metadata}: category {annotation['category_id']} is not in categories")
        attributes = annotation.get("attribute_ids", [])
        if not isinstance(attributes, list):
            raise InputError(f"{metadata}: attribute_ids is {attributes!r:.80}, a list is needed")
        for attribute in attributes:
            if not isinstance(attribute, int) or attribute not in self._attribute:
                raise InputError(f"{metadata}: attribute {attribute} is not in attributes")
        if len(box) != 4 or not all(isinstance(v, int | float) and abs(v) < FAR for v in box):
            raise InputError(f"{metadata}: bbox is {box}; the numbers x, y, width and height are needed")

    def _keep(
        self, images: list[Any], places: Mapping[int, int], annotations: list[Any], whole: bool
    ) -> tuple[list[AnnotatedImage], dict[str, int]]:
        """Store boxes end to end, image by image, and return the images that have any, or all."""
        rows = np.array([places[a["image_id"]] for a in annotations], np.int64)
        boxes = np.array([a["bbox"] for a in annotations], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        sizes = np.array([[i["width"], i["height"]] * 2 for i in images], np.float64).reshape(-1, 4)[rows]
        cut = boxes.clip(0, sizes)
        inside = cut.astype(np.float32)
        good = (inside[:, 2:] > inside[:, :2]).all(1)
        moved = np.abs(cut - boxes).max(1, initial=0) > ROUNDING
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
        there = np.arange(len(images)) if whole else np.flatnonzero(counts)
        self._rows = [slice(int(stops[n] - counts[n]), int(stops[n])) for n in there]
        photographs = [
            AnnotatedImage(i["id"], i["file_name"], i["width"], i["height"])
            for i in (images[n] for n in there)
        ]
        left_out = {
            "boxes outside of their image": int((~good).sum()),
            "boxes cut at its edges": int((good & moved).sum()),
            "images without boxes": len(images) - len(there),
        }
        return photographs, left_out

    def _columns(self, annotation: Any) -> list[int]:
        """Return the columns of an annotation's attributes: the first if it is known to have none."""
        if "attribute_ids" not in annotation:
            return []
        return [self._attribute[a] for a in annotation["attribute_ids"]] or [0]

    def follow(self, order: EpochSampler) -> None:
        """Take the epoch, on which the flips depend, from the order of the examples.

        The processes of a loader are started for every pass, and know the epoch that it had then.
        """
        self._order = order

    def flipped(self, index: int) -> bool:
        """Say whether an example is mirrored in the present epoch."""
        epoch = self._order.epoch if self._order else 0
        return self.flip and bool(np.random.default_rng([self.seed, epoch, index]).random() < 0.5)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Example:
        photograph = self.images[index]
        path = self.folder / photograph.file_name
        pixels = torch.from_numpy(read_photo(path)).permute(2, 0, 1) / 255
        height, width = pixels.shape[1:]
        if (width, height) != (photograph.width, photograph.height):
            raise InputError(
                f"{path}: is {width} x {height} pixels, but {self.path} says "
                f"{photograph.width} x {photograph.height}, so its boxes cannot fit"
            )
        target = self._target(self._rows[index])
        if self.flipped(index):
            pixels = pixels.flip(-1)
            x1, y1, x2, y2 = target["boxes"].unbind(1)
            target["boxes"] = torch.stack([width - x2, y1, width - x1, y2], 1)
        return pixels, target, photograph.image_id

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


class DetectionDataModule(LightningDataModule):
    """Batches of photographs with boxes.

    Args:
        images: folder of the photographs.
        train: COCO instances to train on.
        val: COCO instances to validate on.
        batch_size: photographs a batch.
        workers: processes that decode.
        seed: of the order and of the flips.
    """

    def __init__(
        self, *, images: str, train: str, val: str, batch_size: int, workers: int, seed: int
    ) -> None:
        super().__init__()
        self.train_set = DetectionDataset(train, images, flip=True, seed=seed)
        names = self.train_set.classes, self.train_set.attributes
        self.val_set = DetectionDataset(val, images, flip=False, names=names, whole=True)
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        for each in (self.train_set, self.val_set):
            if told := ", ".join(f"{count} {what}" for what, count in each.left_out.items() if count):
                log.info(f"{each.path}: {len(each)} images with boxes; left out or changed: {told}")

    @property
    def sizes(self) -> dict[str, Any]:
        """What a detector must know of the data."""
        return {"classes": list(self.train_set.classes), "attributes": list(self.train_set.attributes)}

    @property
    def record(self) -> dict[str, Any]:
        """What must stand beside the weights for them to be used again."""
        return {"kind": "detector"}

    @property
    def parts(self) -> dict[str, Any]:
        """What the task needs besides the model: nothing."""
        return {}

    def save(self, folder: Path) -> None:
        """Write the names of classes and attributes for people to read."""
        write_text(folder / "vocabulary.json", json.dumps(self.sizes, indent=1))

    @property
    def sources(self) -> dict[str, str]:
        """The files behind the data, by role."""
        return {"train": str(self.train_set.path), "val": str(self.val_set.path)}

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffle and mirror by seed and epoch."""
        loader = train_loader(self, collate=list, drop_last=len(self.train_set) >= self.batch_size)
        self.train_set.follow(cast(EpochSampler, loader.sampler))
        return loader

    def val_dataloader(self) -> DataLoader[Any]:
        """Keep the order of the file."""
        return val_loader(self, collate=list)
