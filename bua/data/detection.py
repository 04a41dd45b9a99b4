"""Boxes with classes and attributes for training a detector, from COCO instances files.

Attributes are an extension of that format as in other work on Visual Genome: the file has a list
``attributes`` of ``{"id", "name"}`` and an annotation may have ``attribute_ids``.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bua.data.sampler import EpochSampler, ResumableLoader, apart
from bua.errors import InputError
from bua.json_file import read_json, records
from bua.regions.photo import read_photo
from bua.store.atomic import write_text

Example = tuple[Tensor, dict[str, Tensor], int]


class Instances(Dataset[Example]):
    """Photographs with boxes, one example for each image that has at least one box.

    An example is the image (3, H, W) from 0 to 1, its targets and its id.
    """

    def __init__(self, path: Path | str, images: Path | str, *, flip: bool) -> None:
        self.path, self.folder, self.flip = Path(path), Path(images), flip
        self.content = read_json(path)
        self.images = records(self.content, path, "images", {"id": int, "file_name": str})
        self.annotations: dict[int, list[Any]] = {image["id"]: [] for image in self.images}
        kinds = {"id": int, "image_id": int, "category_id": int, "bbox": list}
        for annotation in records(self.content, path, "annotations", kinds):
            if annotation["image_id"] not in self.annotations:
                raise InputError(
                    f"{path}: annotation {annotation['id']} is about image {annotation['image_id']}, "
                    "which is not in images"
                )
            self.annotations[annotation["image_id"]].append(annotation)
        self.images = [image for image in self.images if self.annotations[image["id"]]]
        categories = records(self.content, path, "categories", {"id": int, "name": str})
        self.category_ids = [c["id"] for c in categories]
        self.classes = tuple(c["name"] for c in categories)
        named = self.content.get("attributes", [])
        self.attribute_ids = [a["id"] for a in named]
        self.attributes = tuple(a["name"] for a in named)

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
                attributes[row, self.attribute_ids.index(attribute) + 1] = True
        labels = [self.category_ids.index(a["category_id"]) + 1 for a in annotations]
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
        self.val_set = Instances(val, images, flip=False)
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
        order = EpochSampler(len(self.train_set), seed=self.seed)
        return ResumableLoader(
            self.train_set,
            sampler=order,
            batch_size=self.batch_size,
            num_workers=self.workers,
            collate_fn=list,
            drop_last=True,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """Keep the order of the file."""
        return DataLoader(
            self.val_set,
            batch_size=self.batch_size,
            num_workers=self.workers,
            collate_fn=list,
            generator=apart(),
        )
