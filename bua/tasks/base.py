"""What every task does the same way: its optimiser, its schedule and what its checkpoints carry."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from bua.errors import InputError

OptimizerFactory = Callable[[Iterable[Any]], Optimizer]
SchedulerFactory = Callable[..., LRScheduler]
#: Steps between looks at the loss: each waits for the device.
LOOKED_AT = 20


class BaseTask(LightningModule):
    """A model, how it is optimised, and the plain values from which it can be built again.

    Args:
        optimizer: makes the optimiser from parameters.
        scheduler: makes the schedule from the optimiser, and from ``total_steps`` and
            ``steps_per_epoch`` if it takes them; stepped every batch.
        record: plain values that every checkpoint carries under ``bua``.
    """

    def __init__(
        self,
        *,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None,
        record: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self._optimizer, self._scheduler, self._record = optimizer, scheduler, dict(record)
        self._rng: Mapping[str, Tensor] | None = None
        self._last_loss: Tensor | None = None

    def save(self, folder: Path) -> None:
        """Write what people may want to see of the task into the run directory: nothing here."""

    def configure_optimizers(self) -> Any:
        """Optimise everything that has a gradient, at the rate that its module asks for.

        Raises:
            InputError: the schedule gives everything one rate, and a module asks for another.
        """
        factors, groups = rates(self), dict[float, list[Tensor]]()
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                groups.setdefault(factors.get(name, 1.0), []).append(parameter)
        optimizer = self._optimizer([{"params": group} for group in groups.values()])
        for group, factor in zip(optimizer.param_groups, groups, strict=True):
            group["lr"] *= factor
        if self._scheduler is None:
            return optimizer
        asked = [group["lr"] for group in optimizer.param_groups]
        schedule = self._scheduler(optimizer, **self._known_to(self._scheduler))
        begun = [group["initial_lr"] for group in optimizer.param_groups]
        if len(set(asked)) > 1 and begun != asked:
            raise InputError(
                f"{type(schedule).__name__} gives all parameters one rate, and this model asks for "
                f"{', '.join(map(str, groups))} times the rate; choose another scheduler"
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _known_to(self, scheduler: SchedulerFactory) -> dict[str, int]:
        """Return the steps of the training and of an epoch, for a schedule that asks for them."""
        asked, known = inspect.signature(scheduler).parameters, dict[str, int]()
        if "total_steps" in asked:
            known["total_steps"] = int(self.trainer.estimated_stepping_batches)
        if "steps_per_epoch" in asked:
            _ = self.trainer.estimated_stepping_batches  # makes the loaders, of which steps are counted
            batches = int(self.trainer.num_training_batches)
            known["steps_per_epoch"] = -(-batches // self.trainer.accumulate_grad_batches)
        return known

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the record, as plain values, and the state of the random numbers.

        Raises:
            InputError: the last loss or a weight is no number: an earlier checkpoint stays as it is.
        """
        self._check_loss()
        broken = (name for name, weight in self.named_parameters() if not bool(weight.isfinite().all()))
        if name := next(broken, None):
            raise InputError(f"{name} holds values that are no numbers {self._advice()}")
        checkpoint["bua"] = self._record
        checkpoint["rng"] = _random_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the state of the random numbers until the first batch asks for it."""
        self._rng = checkpoint.get("rng")

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Go on with the random numbers (dropout) of the run that was saved."""
        if self._rng is not None:
            _restore_random_state(self._rng)
            self._rng = None

    def on_before_backward(self, loss: Tensor) -> None:
        """Keep the loss, to be looked at."""
        self._last_loss = loss.detach()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop a training whose loss is no number any more.

        It is looked at every ``LOOKED_AT`` steps, at the end of an epoch, and before anything is saved.

        Raises:
            InputError: it is not.
        """
        if self.trainer.global_step % LOOKED_AT == 0 or self.trainer.is_last_batch:
            self._check_loss()

    def _check_loss(self) -> None:
        if self._last_loss is not None and not bool(self._last_loss.isfinite()):
            raise InputError(f"the loss is {float(self._last_loss)} {self._advice()}")

    def _advice(self) -> str:
        step = self.trainer.global_step
        return f"at step {step}: a lower optimizer.lr, or trainer.gradient_clip_val, may help"


def rates(model: nn.Module) -> dict[str, float]:
    """Return what learning rates are multiplied with, by parameter: ``rates`` of the modules inside."""
    return {
        f"{name}.{parameter}".lstrip("."): factor
        for name, module in model.named_modules()
        for parameter, factor in getattr(module, "rates", {}).items()
    }


def _random_state() -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def _restore_random_state(state: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
