"""Training a detector of objects and attributes."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bua.detectors.detection_evaluator import DetectionEvaluator
from bua.detectors.frozen_detector import Proposer
from bua.tasks.base import BaseTask

Batch = list[tuple[Tensor, dict[str, Tensor], int]]


class DetectionModel(Proposer, Protocol):
    """A detector that learns: ``PyramidRCNN`` or ``C4RCNN``."""

    def losses(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the losses by name."""


class DetectionTask(BaseTask):
    """Faster R-CNN's losses in training, precision of the detections in validation.

    Args:
        model: the detector, a ``DetectionModel``.
        evaluation: ``coco`` or ``genome``: whose numbers validation gives.
        kwargs: of ``BaseTask``.
    """

    def __init__(self, model: nn.Module, *, evaluation: str = "coco", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model: Any = model
        self.evaluation = evaluation
        self.precision = DetectionEvaluator(model, evaluation)  # type: ignore[arg-type]

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the sum of the losses."""
        losses = self.model.losses([image for image, *_ in batch], [target for _, target, _ in batch])
        loss = torch.stack([*losses.values()]).sum()
        self.log("train/loss", loss, batch_size=len(batch), prog_bar=True)
        for name, value in losses.items():
            self.log(f"train/{name}", value, batch_size=len(batch))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the detections of the last validation."""
        self.precision = DetectionEvaluator(self.model, self.evaluation)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Collect detections and truth."""
        for image, target, image_id in batch:
            self.precision.add(image, target, image_id)

    def on_validation_epoch_end(self) -> None:
        """Log the average precisions."""
        for name, value in self.precision.result().items():
            self.log(f"val/{name}", value, prog_bar=name == "AP50")
