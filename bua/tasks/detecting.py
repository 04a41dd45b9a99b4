"""Training a detector of objects and attributes."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bua.metrics.detection import coco_ap
from bua.regions.proposals import Detections, Proposals, detections
from bua.regions.resize import Frame, Resize
from bua.tasks.optimise import Task

Batch = list[tuple[Tensor, dict[str, Tensor], int]]


class DetectionModel(Protocol):
    """A detector that learns: ``PyramidRCNN`` or ``C4RCNN``."""

    classes: tuple[str, ...]
    attributes: tuple[str, ...]
    resize: Resize

    def losses(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the losses by name."""

    def propose(
        self, pixels: Tensor, frames: Sequence[Frame], given: Sequence[Tensor | None]
    ) -> list[Proposals]:
        """Return the proposals of resized images of one size."""


class Detecting(Task):
    """Faster R-CNN's losses in training, AP of the detections in validation.

    Args:
        model: the detector, a ``DetectionModel``.
        kwargs: of ``Task``.
    """

    def __init__(self, model: nn.Module, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model: Any = model
        self.found: list[dict[str, Any]] = []
        self.truth: list[dict[str, Any]] = []

    def training_step(self, batch: Batch, _: int) -> Tensor:
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

    def validation_step(self, batch: Batch, _: int) -> None:
        """Collect detections and truth."""
        for image, target, image_id in batch:
            self.truth += coco_records(image_id, target)
            found = detections(proposals_of(self.model, image), threshold=0.05, nms_iou=0.5, limit=100)
            self.found += coco_records(image_id, as_dict(found))

    def on_validation_epoch_end(self) -> None:
        """Log COCO's average precisions."""
        for name, value in coco_ap(instances(self.truth, self.model.classes), self.found).items():
            self.log(f"val/{name}", value, prog_bar=name == "AP50")


def proposals_of(model: DetectionModel, image: Tensor, given: Tensor | None = None) -> Proposals:
    """Return the proposals of one image (3, H, W) from 0 to 1, or what is known of given boxes."""
    pixels, frame = model.resize(image * 255)
    return model.propose(pixels[None], [frame], [given])[0]


def as_dict(found: Detections) -> dict[str, Tensor]:
    """Return detections as ``coco_records`` takes them."""
    return {"boxes": found.boxes, "labels": found.labels, "scores": found.scores}


def instances(truth: list[dict[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    """Return true boxes as a COCO instances file has them."""
    return {
        "images": [{"id": n} for n in sorted({record["image_id"] for record in truth})],
        "annotations": [{**record, "id": n + 1} for n, record in enumerate(truth)],
        "categories": [{"id": n, "name": name} for n, name in enumerate(classes, 1)],
    }


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
