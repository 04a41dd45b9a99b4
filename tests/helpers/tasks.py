"""Small tasks over synthetic data, and short trainings of them."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from bua.decode import Sampling, greedy
from bua.models.attention import ProductAttention
from bua.models.captioners.updown import UpDownCaptioner
from bua.models.vqa.updown import UpDownVQAModel
from bua.tasks.captioning import CaptionCrossEntropyTask, LossReduction, ScheduledSampling
from bua.tasks.self_critical import Reward, SelfCriticalTask
from bua.tasks.vqa import VQATask
from tests.helpers.data import vqa_data


def small_captioner(data, dropout: float) -> UpDownCaptioner:
    torch.manual_seed(0)
    return UpDownCaptioner(**data.sizes, word_size=16, hidden_size=24, attention_size=12, dropout=dropout)


def cross_entropy_task(data, dropout: float = 0.0, **overrides: Any) -> CaptionCrossEntropyTask:
    """Return a task of cross-entropy with a small captioner."""
    options = {
        "reduction": LossReduction(),
        "label_smoothing": 0.0,
        "ignore_unknown": True,
        "sampling": ScheduledSampling(),
    }
    return CaptionCrossEntropyTask(
        small_captioner(data, dropout),
        **data.parts,
        **(options | overrides),
        decoder=greedy(12),
        optimizer=lambda p: torch.optim.Adam(p, lr=5e-3),
        scheduler=None,
        record=data.record,
    )


def self_critical_task(data, model=None, **overrides: Any) -> SelfCriticalTask:
    """Return a task of self-critical training whose logged values are kept in its attribute ``logged``."""
    torch.manual_seed(0)
    if model is None:
        model = small_captioner(data, dropout=0.1)
    options = {
        "decoder": greedy(12),
        "sampler": Sampling(4, 12),
        "baseline": "leave_one_out",
        "reward": Reward(),
        "document_frequencies": None,
        "reduction": LossReduction(),
        "optimizer": lambda p: torch.optim.Adam(p, lr=5e-3),
        "scheduler": None,
        "record": data.record,
    }
    task = SelfCriticalTask(model, **data.parts, **(options | overrides))
    task.log = lambda name, value, **_: task.__dict__.setdefault("logged", {}).update({name: float(value)})
    return task


def vqa_task(data) -> VQATask:
    """Return a task of VQA with a small model."""
    torch.manual_seed(0)
    attention = ProductAttention(
        feature_size=data.sizes["feature_size"], question_size=24, hidden_size=24, dropout=0.0
    )
    model = UpDownVQAModel(**data.sizes, word_size=16, hidden_size=24, dropout=0.0, attention=attention)
    return VQATask(
        model,
        **data.parts,
        optimizer=lambda p: torch.optim.Adamax(p, lr=5e-3),
        scheduler=None,
        record=data.record,
    )


class StepLosses(pl.Callback):
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.values.append(float(outputs["loss"]))


def fit(
    task, data, *, steps: int = -1, epochs: int = 100, callbacks=(), checkpointing=False, **options: Any
) -> pl.Trainer:
    """Train a task on the CPU without validation."""
    trainer = pl.Trainer(
        max_steps=steps,
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=checkpointing,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        use_distributed_sampler=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
    )
    trainer.fit(task, data, weights_only=True, **options)
    return trainer


def validate_vqa(scenes: Path, *, questions_file: str | None = None, **options: Any) -> dict[str, float]:
    """Validate a small VQA model on synthetic questions and return the logged metrics."""
    data = vqa_data(scenes, batch_size=7, **({"val": questions_file} if questions_file else {}))
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **options,
    )
    (metrics,) = trainer.validate(vqa_task(data), data, verbose=False)
    return metrics
