"""The DataModule of images with boxes."""

import json
import logging
from pathlib import Path
from typing import Any, cast

from torch.utils.data import DataLoader

from bua.data.datamodule import EpochSampler, ResumableDataModule
from bua.data.detection.dataset import DetectionDataset, Example
from bua.io.write import write_text

log = logging.getLogger(__name__)

#: Maximum number of unusable images to name.
MAX_PROBLEMS = 10


class DetectionDataModule(ResumableDataModule):
    """Batches of images with boxes.

    Args:
        images: Folder of the image files.
        train: COCO instances to train on.
        val: COCO instances to validate on.
        max_errors: Maximum number of images of a file that may be missing, damaged or of another size;
            ``None`` for no limit.
        batch_size: Images in a batch.
        num_workers: Number of processes that decode.
        seed: Seed of the order and of the flips.

    Raises:
        InputError: If a file is broken, or ``val`` names a class that ``train`` does not.
        ValueError: If an option has the wrong type or is out of range.
    """

    def __init__(
        self,
        *,
        images: str,
        train: str,
        val: str,
        max_errors: int | None,
        batch_size: int,
        num_workers: int,
        seed: int,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed)
        self.train_set = DetectionDataset(train, images, flip=True, seed=seed)
        names = self.train_set.classes, self.train_set.attributes
        self.val_set = DetectionDataset(val, images, flip=False, names=names, keep_all=True)
        self.sources = {"train": str(self.train_set.path), "val": str(self.val_set.path)}
        for dataset in (self.train_set, self.val_set):
            dataset.check_photos(max_errors)
            for problem in list(dataset.problems.values())[:MAX_PROBLEMS]:
                log.warning(problem)
            if changes := ", ".join(f"{count} {what}" for what, count in dataset.changes.items() if count):
                log.info(f"{dataset.path}: {len(dataset)} images with boxes; left out or changed: {changes}")

    @property
    def sizes(self) -> dict[str, Any]:
        """Names of classes and attributes, which are determined by the data."""
        return {"classes": list(self.train_set.classes), "attributes": list(self.train_set.attributes)}

    def describe(self) -> list[str]:
        """Return lines about the images, the classes and the attributes."""
        sets = {"train": self.train_set, "val": self.val_set}
        return [
            *(f"{name}: {len(data):,} images of {data.path}" for name, data in sets.items()),
            f"classes: {len(self.train_set.classes):,}; attributes: {len(self.train_set.attributes):,}",
        ]

    @property
    def record(self) -> dict[str, Any]:
        """Plain values that a checkpoint needs in addition to the weights."""
        return {"kind": "detector"}

    @property
    def parts(self) -> dict[str, Any]:
        """Arguments of the task that are determined by the data: none."""
        return {}

    def save(self, folder: Path) -> None:
        """Write the names of classes and attributes to a run directory."""
        write_text(folder / "vocabulary.json", json.dumps(self.sizes, indent=1))

    def on_after_batch_transfer(self, batch: list[Example], dataloader_idx: int) -> list[Example]:
        """Scale images from 0 to 1; they are read and transferred in 8 bits."""
        return [(image / 255, target, image_id) for image, target, image_id in batch]

    def train_dataloader(self) -> DataLoader[Any]:
        """Return shuffled batches; the order and the flips depend only on seed and epoch."""
        drop_last = len(self.train_set) >= self.batch_size
        loader = self.train_loader(self.train_set, collate=list, drop_last=drop_last)
        self.train_set.set_sampler(cast(EpochSampler, loader.sampler))
        return loader

    def val_dataloader(self) -> DataLoader[Any]:
        """Return batches in the order of the file."""
        return self.val_loader(self.val_set, collate=list)
