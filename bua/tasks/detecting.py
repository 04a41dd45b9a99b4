"""Training a detector of objects and attributes."""

from typing import Any

import torch
from torch import Tensor

from bua.metrics.detection import coco_ap
from bua.regions.rcnn import PyramidRCNN
from bua.tasks.optimise import Task


class Detecting(Task):
    """Faster R-CNN's losses in training, AP of the detections in validation.

    Args:
        model: the detector.
        kwargs: of ``Task``.
    """

    def __init__(self, model: PyramidRCNN, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.found: list[dict[str, Any]] = []
        self.truth: list[dict[str, Any]] = []

    def training_step(self, batch: list[tuple[Tensor, dict[str, Tensor], int]], _: int) -> Tensor:
        """Return the sum of the losses."""
        losses = self.model.losses([image for image, *_ in batch], [target for _, target, _ in batch])
        loss = torch.stack([*losses.values()]).sum()
        self.log("train/loss", loss, batch_size=len(batch), prog_bar=True)
        for name, value in losses.items():
            self.log(f"train/{name}", value, batch_size=len(batch), on_step=False, on_epoch=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the detections of the last validation."""
        self.found, self.truth = [], []

    def validation_step(self, batch: list[tuple[Tensor, dict[str, Tensor], int]], _: int) -> None:
        """Collect detections and truth."""
        detections = self.model.detect([image for image, *_ in batch])
        for (_image, target, image_id), detection in zip(batch, detections, strict=True):
            self.truth += coco_records(image_id, target)
            self.found += coco_records(image_id, detection)

    def on_validation_epoch_end(self) -> None:
        """Log COCO's average precisions."""
        ids = sorted({record["image_id"] for record in self.truth})
        truth = [{**record, "id": n + 1} for n, record in enumerate(self.truth)]
        names = enumerate(self.model.classes, 1)
        instances = {
            "images": [{"id": n} for n in ids],
            "annotations": truth,
            "categories": [{"id": n, "name": name} for n, name in names],
        }
        for name, value in coco_ap(instances, self.found).items():
            self.log(f"val/{name}", value, prog_bar=name == "AP50")


def coco_records(image_id: int, boxes: dict[str, Tensor]) -> list[dict[str, Any]]:
    """Return boxes as COCO annotations, with scores where there are any."""
    records = []
    for n, (x1, y1, x2, y2) in enumerate(boxes["boxes"].tolist()):
        record = {
            "image_id": image_id,
            "category_id": int(boxes["labels"][n]),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": 0,
        }
        if "scores" in boxes:
            record["score"] = float(boxes["scores"][n])
        records.append(record)
    return records
