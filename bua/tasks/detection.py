"""Training a detector of objects and attributes."""

from typing import Any

import torch
from torch import Tensor

from bua.data.detection.dataset import Example
from bua.detectors.detection_evaluator import EVALUATIONS, DetectionEvaluator
from bua.tasks.base import BaseTask
from bua.tasks.metric_modes import metric_mode


class DetectionTask(BaseTask):
    """Trains with the losses of Faster R-CNN and validates with average precision.

    Args:
        model: Detector with the methods ``losses(images, targets)``, which returns losses by name, and
            ``propose``: ``PyramidRCNN`` or ``C4RCNN``.
        evaluation: Definition of average precision for validation: "coco" or "genome".
        kwargs: Arguments of ``BaseTask``.

    Raises:
        ValueError: If the evaluation does not exist.
    """

    def __init__(self, model: Any, *, evaluation: str = "coco", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.evaluation = evaluation
        self.evaluator = DetectionEvaluator(self.model, evaluation)

    @property
    def metrics(self) -> dict[str, str]:
        """Average precisions are best when high, the loss when low."""
        precisions = (
            name
            for name in EVALUATIONS[self.evaluation]
            if self.model.attributes or not name.startswith("attribute")
        )
        names = (*(f"val/{name}" for name in precisions), "train/loss")
        return {name: metric_mode(name) for name in names}

    def training_step(self, batch: list[Example], _: int) -> Tensor:
        """Return the sum of the losses."""
        losses = self.model.losses([image for image, *_ in batch], [target for _, target, _ in batch])
        loss = torch.stack([*losses.values()]).sum()
        self.log("train/loss", loss, batch_size=len(batch), prog_bar=True)
        for name, value in losses.items():
            self.log(f"train/{name}", value, batch_size=len(batch))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Discard the detections of the last validation."""
        self.evaluator = DetectionEvaluator(self.model, self.evaluation)

    def validation_step(self, batch: list[Example], _: int) -> None:
        """Collect detections and annotations."""
        for image, target, image_id in batch:
            self.evaluator.update(image, target, image_id)

    def on_validation_epoch_end(self) -> None:
        """Log the average precisions."""
        for name, value in self.evaluator.compute().items():
            self.log(f"val/{name}", value, prog_bar=name == "AP50")
