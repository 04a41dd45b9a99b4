"""Boxes with classes and attributes for training a detector, from COCO instances files.

Attributes are an extension of that format as in other work on Visual Genome: the file has a list
``attributes`` of ``{"id", "name"}`` and an annotation may have ``attribute_ids``.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bua.data.sampler import in_order, shuffled
from bua.errors import InputError
from bua.json_file import read_json, records
from bua.regions.photo import read_photo
from bua.store.atomic import write_text

Example = tuple[Tensor, dict[str, Tensor], int]


class Instances(Dataset[Example]):
    """Photographs with boxes, one example for each image that has at least one box.

    An example is the image (3, H, W) from 0 to 1, its targets and its id.

    Args:
        path: COCO instances.
        images: folder of the photographs.
        flip: mirror half of them at random.
        names: classes and attributes to count by; by default the file's own, in its order.

    Raises:
        InputError: the file is broken, or names a class or attribute that is not among ``names``.
    """

    def __init__(
        self,
        path: Path | str,
        images: Path | str,
        *,
        flip: bool,
        names: tuple[Sequence[str], Sequence[str]] | None = None,
    ) -> None:
        self.path, self.folder, self.flip = Path(path), Path(images), flip
        content = read_json(path)
        classes = records(content, path, "categories", {"id": int, "name": str})
        attributes = (
            records(content, path, "attributes", {"id": int, "name": str}) if "attributes" in content else []
        )
        own = [c["name"] for c in classes], [a["name"] for a in attributes]
        self.classes, self.attributes = (tuple(each) for each in names or own)
        self._class = self._positions(classes, self.classes, "category")
        self._attribute = self._positions(attributes, self.attributes, "attribute")
        found = records(content, path, "images", {"id": int, "file_name": str})
        self.annotations: dict[int, list[Any]] = {image["id"]: [] for image in found}
        kinds = {"id": int, "image_id": int, "category_id": int, "bbox": list}
        for annotation in records(content, path, "annotations", kinds):
            self._check(annotation)
            self.annotations[annotation["image_id"]].append(annotation)
        self.images = [image for image in found if self.annotations[image["id"]]]
        if not self.images:
            raise InputError(f"{path}: no image in it has a box")

    def _positions(self, listed: list[Any], names: Sequence[str], what: str) -> dict[int, int]:
        """Return the position in ``names``, from 1, of every id of the file."""
        places = {name: n for n, name in enumerate(names, 1)}
        for entry in listed:
            if entry["name"] not in places:
                raise InputError(f"{self.path}: {what} {entry['name']!r} is not one of those trained on")
        return {entry["id"]: places[entry["name"]] for entry in listed}

    def _check(self, annotation: Any) -> None:
        about, box = f"{self.path}: annotation {annotation['id']}", annotation["bbox"]
        if annotation["image_id"] not in self.annotations:
            raise InputError(f"{about} is about image {annotation['image_id']}, which is not in images")
        if annotation["category_id"] not in self._class:
            raise InputError(f"{about}: category {annotation['category_id']} is not in categories")
        for attribute in annotation.get("attribute_ids", ()):
            if attribute not in self._attribute:
                raise InputError(f"{about}: attribute {attribute} is not in attributes")
        numbers = len(box) == 4 and all(isinstance(v, int | float) for v in box)
        if not numbers or not (box[2] > 0 and box[3] > 0):
            raise InputError(f"{about}: bbox is {box}; x, y, width and height above 0 are needed")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Example:
        image = self.images[index]
        pixels = torch.from_numpy(read_photo(self.folder / image["file_name"])).permute(2, 0, 1) / 255
        target = self._target(self.annotations[image["id"]])
        if self.flip and torch.rand(()) < 0.5:
            pixels = pixels.flip(-1)
            x1, y1, x2, y2 = target["boxes"].unbind(1)
            width = pixels.shape[-1]
            target["boxes"] = torch.stack([width - x2, y1, width - x1, y2], 1)
        return pixels, target, image["id"]

    def _target(self, annotations: list[Any]) -> dict[str, Tensor]:
        boxes = np.array([a["bbox"] for a in annotations], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        attributes = torch.zeros(len(annotations), len(self.attributes) + 1, dtype=torch.bool)
        for row, annotation in enumerate(annotations):
            for attribute in annotation.get("attribute_ids", ()):
                attributes[row, self._attribute[attribute]] = True
        labels = [self._class[a["category_id"]] for a in annotations]
        return {
            "boxes": torch.from_numpy(boxes),
            "labels": torch.tensor(labels),
            "attributes": attributes,
        }


class DetectionData(LightningDataModule):
    """Batches of photographs with boxes.

    Args:
        images: folder of the photographs.
        train: COCO instances to train on.
        val: COCO instances to validate on.
        batch_size: photographs a batch.
        workers: processes that decode.
        seed: of the order.
    """

    def __init__(
        self, *, images: str, train: str, val: str, batch_size: int, workers: int, seed: int
    ) -> None:
        super().__init__()
        self.train_set = Instances(train, images, flip=True)
        names = self.train_set.classes, self.train_set.attributes
        self.val_set = Instances(val, images, flip=False, names=names)
        self.batch_size, self.workers, self.seed = batch_size, workers, seed

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
        """Shuffle by seed and epoch."""
        return shuffled(self, collate=list, drop_last=len(self.train_set) >= self.batch_size)

    def val_dataloader(self) -> DataLoader[Any]:
        """Keep the order of the file."""
        return in_order(self, collate=list)
