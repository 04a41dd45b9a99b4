"""The base class of all tasks: optimizer, learning rate schedule, and content of checkpoints."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from bua.errors import InputError, check_number

OptimizerFactory = Callable[[Iterable[Any]], Optimizer]
SchedulerFactory = Callable[..., LRScheduler]
#: Factors of ``lr`` and ``weight_decay``, by the end of the names of parameters.
Multipliers = Mapping[str, Mapping[str, float]]
#: Options of an optimizer that ``multipliers`` may multiply.
FACTORS = ("lr", "weight_decay")
#: Steps between checks that the loss is finite; each check waits for the device.
CHECK_EVERY_N_STEPS = 20


class BaseTask(LightningModule, ABC):
    """A model with its optimizer, its schedule, and the plain values from which it can be rebuilt.

    Args:
        optimizer: Factory of the optimizer, called with parameter groups.
        scheduler: Factory of the schedule, called with the optimizer, and with ``total_steps`` and
            ``steps_per_epoch`` if it accepts them. The schedule is stepped after every batch. ``None`` for a
            constant learning rate.
        record: Plain values that are stored in every checkpoint under the key ``bua``.
        multipliers: Factors of ``lr`` and ``weight_decay`` for the parameters whose dotted name ends with a
            key, such as ``{"bias": {"lr": 2.0}}``; of several keys the longest applies. Default: none.

    Raises:
        InputError: If ``multipliers`` has a factor that does not exist or is not a number of at least 0.
    """

    def __init__(
        self,
        *,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None,
        record: Mapping[str, Any],
        multipliers: Multipliers | None = None,
    ) -> None:
        super().__init__()
        self._optimizer, self._scheduler, self._record = optimizer, scheduler, dict(record)
        self._multipliers = _checked_multipliers(multipliers)
        self._resumed: Mapping[str, Any] | None = None
        self._last_loss: Tensor | None = None

    @property
    @abstractmethod
    def metrics(self) -> dict[str, str]:
        """Metrics that the task logs, each with "max" or "min" for whether a high or a low value is good."""

    def save(self, folder: Path) -> None:
        """Write files about the task to a run directory; none by default."""

    def configure_optimizers(self) -> Any:
        """Return the optimizer of all trainable parameters, with the learning rates that modules request.

        Raises:
            InputError: If the schedule sets one learning rate for all parameters, but a different one is
                requested, or the optimizer has no option that ``multipliers`` changes.
        """
        groups = self.parameter_groups()
        optimizer = self._optimizer([{"params": group} for group in groups.values()])
        for group, factors in zip(optimizer.param_groups, groups, strict=True):
            for name, factor in zip(FACTORS, factors, strict=True):
                if factor != 1 and name not in group:
                    raise InputError(f"multipliers: {type(optimizer).__name__} has no option {name}")
                if factor != 1:
                    group[name] *= factor
        if self._scheduler is None:
            return optimizer
        requested = [group["lr"] for group in optimizer.param_groups]
        scheduler = self._scheduler(optimizer, **self._schedule_length(self._scheduler))
        initial = [group["initial_lr"] for group in optimizer.param_groups]
        if len(set(requested)) > 1 and initial != requested:
            raise InputError(
                f"{type(scheduler).__name__} sets one learning rate for all parameters, but this model asks "
                f"for {', '.join(str(rate) for rate, _ in groups)} times the rate; choose another scheduler"
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def parameter_groups(self) -> dict[tuple[float, float], list[Tensor]]:
        """Return the trainable parameters by their factors of learning rate and weight decay.

        Raises:
            InputError: If no parameter has a name that ``multipliers`` asks for.
        """
        requested, groups = lr_multipliers(self), dict[tuple[float, float], list[Tensor]]()
        unused = set(self._multipliers)
        for name, parameter in self.named_parameters():
            keys = [key for key in self._multipliers if f".{name}".endswith(f".{key}")]
            unused.difference_update(keys)
            factors = self._multipliers[max(keys, key=len)] if keys else {}
            rate = factors.get("lr", 1.0) * requested.get(name, 1.0)
            if parameter.requires_grad:
                groups.setdefault((rate, factors.get("weight_decay", 1.0)), []).append(parameter)
        if unused:
            names = ", ".join(name for name, _ in self.named_parameters())
            raise InputError(f"multipliers: no parameter is named {min(unused)}; the model has {names:.200}")
        return groups

    def _schedule_length(self, scheduler: SchedulerFactory) -> dict[str, int]:
        """Return the number of training steps and of steps per epoch, if a schedule accepts them.

        Raises:
            InputError: If a schedule needs the number of steps of a training without an end.
        """
        parameters, length = inspect.signature(scheduler).parameters, dict[str, int]()
        if "total_steps" in parameters:
            steps = self.trainer.estimated_stepping_batches
            if math.isinf(steps):
                raise InputError(
                    "the schedule depends on the number of steps, but the training has no end; give "
                    "trainer.max_epochs=N or trainer.max_steps=N, or scheduler=constant"
                )
            length["total_steps"] = max(1, int(steps))  # at least 1 also where no batch is trained
        if "steps_per_epoch" in parameters:
            _ = self.trainer.estimated_stepping_batches  # sets up the loaders, whose batches are counted
            batches = self.trainer.num_training_batches
            batches = int(batches) if math.isfinite(batches) else 0  # infinite where none is trained
            length["steps_per_epoch"] = max(1, -(-batches // self.trainer.accumulate_grad_batches))
        return length

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the record, the state of the random number generators, and accumulated gradients.

        Raises:
            InputError: If the last loss or a weight is not finite; the earlier checkpoint is then kept.
        """
        self._check_loss()
        broken = (name for name, weight in self.named_parameters() if not bool(weight.isfinite().all()))
        if name := next(broken, None):
            raise InputError(f"{name} is not finite {self._advice()}")
        checkpoint["bua"] = self._record
        checkpoint["rng"] = _rng_state()
        if self._is_accumulating():
            gradients = ((name, parameter.grad) for name, parameter in self.named_parameters())
            checkpoint["gradients"] = {name: grad for name, grad in gradients if grad is not None}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep random numbers and gradients until the first batch."""
        self._resumed = {key: checkpoint[key] for key in ("rng", "gradients") if key in checkpoint}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Continue with the random numbers (dropout) and gradients of the checkpoint, if training resumes."""
        resumed, self._resumed = self._resumed or {}, None
        if "rng" in resumed:
            _restore_rng_state(resumed["rng"])
        for name, gradient in resumed.get("gradients", {}).items():
            parameter = self.get_parameter(name)
            parameter.grad = gradient.to(parameter.device)

    def on_before_backward(self, loss: Tensor) -> None:
        """Keep the loss for the next check."""
        self._last_loss = loss.detach()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop training if the loss is not finite.

        The loss is checked every ``CHECK_EVERY_N_STEPS`` steps, at the end of an epoch, and before a
        checkpoint is saved.

        Raises:
            InputError: If the loss is not finite.
        """
        if self.trainer.global_step % CHECK_EVERY_N_STEPS == 0 or self.trainer.is_last_batch:
            self._check_loss()

    def _is_accumulating(self) -> bool:
        """Return whether gradients of batches wait for those of further batches before a step."""
        trainer = self._trainer
        if trainer is None or trainer.accumulate_grad_batches == 1 or trainer.is_last_batch:
            return False
        return bool((trainer.fit_loop.batch_idx + 1) % trainer.accumulate_grad_batches)

    def _check_loss(self) -> None:
        if self._last_loss is not None and not bool(self._last_loss.isfinite()):
            raise InputError(f"the loss is {float(self._last_loss)} {self._advice()}")

    def _advice(self) -> str:
        step = self.trainer.global_step
        return f"at step {step}: try a lower optimizer.lr, or trainer.gradient_clip_val"


def _checked_multipliers(multipliers: Multipliers | None) -> Multipliers:
    if not isinstance(multipliers, Mapping | None):
        raise InputError(f"multipliers={multipliers}: must be factors by name, such as {{bias: {{lr: 2.0}}}}")
    for key, factors in (multipliers or {}).items():
        if not isinstance(factors, Mapping) or not set(factors) <= set(FACTORS):
            raise InputError(
                f"multipliers.{key}={factors}: must hold factors of {' and '.join(FACTORS)}, such as "
                f"{{{key}: {{lr: 2.0}}}}"
            )
        for name, factor in factors.items():
            check_number(f"multipliers.{key}.{name}", factor)
    return multipliers or {}


def lr_multipliers(model: nn.Module) -> dict[str, float]:
    """Return the learning rate factor of each parameter, from ``lr_multipliers`` of the submodules."""
    return {
        f"{name}.{parameter}".lstrip("."): factor
        for name, module in model.named_modules()
        for parameter, factor in getattr(module, "lr_multipliers", {}).items()
    }


def _rng_state() -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def _restore_rng_state(state: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
