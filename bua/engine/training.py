"""Training from a configuration: data, model, task and trainer."""

import csv
import difflib
import inspect
import logging
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import Callback, EarlyStopping, EMAWeightAveraging
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason
from torch import nn

from bua.data.datamodule import ResumableDataModule
from bua.engine.callbacks import BestCheckpoint, LastCheckpoint, MetricsLogger
from bua.engine.checkpoint_io import AtomicCheckpointIO
from bua.engine.instantiate import check_optimization, check_trainer, instantiate, to_plain
from bua.engine.loading import FORMAT, describe_difference, init_weights_from, read_checkpoint
from bua.engine.run_directory import RunDirectory, provenance
from bua.engine.run_options import INIT_FILES, changed_options, with_absolute_paths
from bua.engine.targets import find_class, plugin_packages
from bua.errors import InputError, LostProcessError
from bua.public_names import to_public
from bua.tasks.base import BaseTask

log = logging.getLogger(__name__)

#: Messages of torch about tensors with incompatible sizes.
SIZE_ERRORS = re.compile(
    r"shapes cannot be multiplied|[Ss]izes? of tensors? .*must match|normalized_shape|size mismatch"
)
#: Messages of gloo and NCCL about another process that is gone.
CONNECTION_ERRORS = re.compile(r"gloo.*Connection|Connection (reset|closed)|NCCL|remote process exited", re.I)


def train(config: Any, overrides: Sequence[str] = ()) -> dict[str, float]:
    """Train a model and return its metrics.

    Values that depend on the data (sizes, vocabularies) are written into the configuration of the run, so the
    model can be rebuilt from the run directory alone. Nothing is written until all parts are built, so a
    mistake that is found before then leaves no run directory behind.

    Args:
        config: Composed configuration of ``bua train``; ``config.out`` is the run directory.
        overrides: Overrides from the command line, which are recorded in the run directory.

    Returns:
        Metrics by name: those of the last validation, training metrics averaged over batches, and the best
        value of the monitored metric, whose name is that of the metric after "best/".

    Raises:
        InputError: If the configuration, a file or their combination is wrong.
    """
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
    run = RunDirectory(config.out)
    config = OmegaConf.merge(config, {"resume": bool(config.resume) and can_resume(run)})
    if not config.resume:
        run.check_new()
    pl.seed_everything(config.seed, verbose=False)

    data = instantiate(config.data, kind=ResumableDataModule)
    resolved = resolve_config(config, data.sizes)
    record = checkpoint_record(resolved, data.record)
    checkpoint = intact_checkpoint(run) if resolved["resume"] else None
    if checkpoint is not None:
        check_resumable(run, checkpoint, resolved, record)

    model = instantiate(resolved["model"], kind=nn.Module)
    if resolved["compile"]:
        model.compile()  # in place, so that parameters keep their names
    task = instantiate_task(resolved, model, data.parts, record)
    metrics_logger = MetricsLogger(run.path / "metrics.csv", log.info)
    best = BestCheckpoint(run.checkpoints, **monitored(resolved["monitor"], task))
    callbacks = [best, *instantiate_callbacks(resolved, run, best), metrics_logger]
    check_trainer(resolved["trainer"])
    trainer = instantiate(resolved["trainer"], callbacks=callbacks, logger=False)
    trainer.strategy.checkpoint_io = AtomicCheckpointIO()

    with run.locked(), recorded_status(run), explained_errors(trainer, overrides):
        previous = begin_run(run, resolved, overrides, data.sources)
        if run.is_writer:
            data.save(run.path)
            task.save(run.path)
            log.info(f"{run.path}: {sum(p.numel() for p in task.parameters()):,} parameters")
        trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True)
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        metrics = previous | logged | metrics_logger.means | best.metric
        run.set_status("done", metrics=metrics)
    if run.is_writer and not trainer.fast_dev_run:
        for line in describe_end(run, trainer):
            log.info(line)
    return metrics


def describe_end(run: RunDirectory, trainer: pl.Trainer) -> Iterator[str]:
    """Yield lines about what a user may not expect of a training that has ended."""
    for callback in trainer.early_stopping_callbacks:
        if isinstance(callback, EarlyStopping) and callback.stopped_epoch:
            yield f"{run.path}: {describe_stop(callback, best_row(run.path / 'metrics.csv', callback))}"
    if not run.checkpoint_files():
        yield f"{run.path}: no step was trained, so no checkpoint was saved"
    elif not run.best_checkpoint().exists():
        yield f"{run.path}: no validation was due, so only last.ckpt was saved"


def describe_stop(callback: EarlyStopping, best: Mapping[str, str] | None) -> str:
    """Return why a training stopped early.

    Args:
        callback: Callback that stopped it.
        best: Row of the metrics with the best value; ``None`` if there is none.
    """
    place = "" if best is None else f", the best is {float(best[callback.monitor]):.4g} of epoch "
    place += "" if best is None else f"{int(best['epoch']) + 1}, step {best['step']}"
    if callback.stopping_reason is EarlyStoppingReason.NON_FINITE_METRIC:
        return f"stopped in epoch {callback.stopped_epoch + 1}: {callback.monitor} is not finite{place}"
    noun = "validation" if callback.patience == 1 else "validations"
    return (
        f"stopped in epoch {callback.stopped_epoch + 1}: {callback.monitor} did not improve in "
        f"{callback.patience} {noun} (patience={callback.patience}){place}"
    )


def best_row(metrics: Path, callback: EarlyStopping) -> dict[str, str] | None:
    """Return the first row with the best finite value of the monitored metric, or ``None``.

    Args:
        metrics: CSV file of the metrics.
        callback: Callback that monitors one of them.
    """
    with open(metrics, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get(callback.monitor)]
    finite = [row for row in rows if math.isfinite(float(row[callback.monitor]))]
    sign = 1 if callback.mode == "min" else -1
    return min(finite, key=lambda row: sign * float(row[callback.monitor]), default=None)


def resolve_config(config: Any, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration as plain values, with absolute paths and the sizes that the data determine.

    Raises:
        InputError: If the configuration sets such a size.
    """
    model_keys = list(config.model)  # includes keys that are still missing, unlike `in`
    determined = {name: size for name, size in sizes.items() if name in model_keys}
    for name in determined:
        if not OmegaConf.is_missing(config.model, name):
            raise InputError(f"model.{name}={config.model[name]}: is determined by the data; leave it out")
    resolved: dict[str, Any] = to_plain(OmegaConf.merge(config, {"model": determined}))
    return with_absolute_paths(resolved)


def checkpoint_record(config: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain values stored in every checkpoint, with classes by their public names."""
    # weights that initialized the model are not needed to build it from its checkpoint
    model = {key: None if key == "pretrained" else value for key, value in config["model"].items()}
    objective = {k: None if k in INIT_FILES else v for k, v in to_public(config["objective"]).items()}
    return {"format": FORMAT, "model": to_public(model), "objective": objective, **data}


def can_resume(run: RunDirectory) -> bool:
    """Return whether a run has a checkpoint; one that was killed before the first starts again.

    Raises:
        InputError: If there is no run, or it is still training.
    """
    if not (run.path / "status.json").exists():
        raise InputError(f"{run.path}: holds no run to resume; leave out resume=true")
    run.check_idle()
    if run.checkpoint_files():
        return True
    log.info(f"{run.path}: has no checkpoint yet, so the training starts from the beginning")
    return False


def intact_checkpoint(run: RunDirectory) -> Path:
    """Return the newest checkpoint that is not damaged.

    Raises:
        InputError: If all of them are damaged.
    """
    for path in run.checkpoint_files():
        try:
            read_checkpoint(path)
        except InputError as error:
            log.warning(f"{error}; trying an earlier one")
        else:
            return path
    raise InputError(f"{run.path}: all of its checkpoints are damaged; delete it and start again")


def check_resumable(
    run: RunDirectory, checkpoint: Path, config: dict[str, Any], record: dict[str, Any]
) -> None:
    """Raise ``InputError`` if a run cannot be resumed from a checkpoint with a configuration."""
    trained, former = read_checkpoint(checkpoint)[0], run.config()
    changed = list(changed_options(former, config))
    changed += [
        f"{key} differs from that of the run ({describe_difference(trained.get(key), record[key])})"
        for key in record
        if key not in ("model", "objective") and trained.get(key) != record[key]
    ]
    changed.sort(key=lambda text: text.startswith("model"))  # last, because its sizes follow from the rest
    if changed:
        raise InputError(f"{run.path}: {changed[0]}; resume with the same options")
    trainer = former["trainer"]
    if _depends_on_length(config.get("scheduler")):
        for key in ("max_epochs", "max_steps"):
            if trainer.get(key) != config["trainer"].get(key):
                raise InputError(
                    f"{run.path}: schedule was made for trainer.{key}={trainer.get(key)}; resume with it"
                )


def _depends_on_length(scheduler: dict[str, Any] | None) -> bool:
    """Return whether a schedule depends on the length of the training."""
    if not scheduler:
        return False
    return "total_steps" in inspect.signature(find_class(scheduler["_target_"])).parameters


def instantiate_task(
    config: Mapping[str, Any], model: Any, parts: Mapping[str, Any], record: Mapping[str, Any]
) -> Any:
    """Build the LightningModule, with initial weights unless the run resumes."""
    objective = config["objective"]
    optimizer = instantiate(config["optimizer"])
    scheduler = instantiate(config["scheduler"]) if config.get("scheduler") else None
    check_optimization(config, optimizer, scheduler)
    if config["resume"]:
        objective = {**objective, **{key: None for key in INIT_FILES if key in objective}}
    elif getattr(model, "fixed_words", False) and not (objective.get("word_vectors") or config["init_from"]):
        raise InputError("model.fixed_words=true: fixed word embeddings need objective.word_vectors=FILE")
    task = instantiate(
        objective,
        kind=BaseTask,
        model=model,
        optimizer=optimizer,
        scheduler=scheduler,
        record=record,
        multipliers=config["multipliers"],
        **parts,
    )
    task.parameter_groups()  # refuses multipliers of parameters that the model does not have
    if config.get("init_from") is not None and not config["resume"]:
        init_weights_from(model, config["init_from"], record)  # last, to override other weights
    return task


def monitored(name: str, task: BaseTask) -> dict[str, str]:
    """Return the name of the monitored metric and its mode: whether its highest or lowest value is best.

    Raises:
        InputError: If the task does not log the metric.
    """
    if name not in task.metrics:
        close = difflib.get_close_matches(name, task.metrics, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"monitor={name}: must be one of {', '.join(task.metrics)}{hint}")
    return {"monitor": name, "mode": task.metrics[name]}


def instantiate_callbacks(
    config: Mapping[str, Any], run: RunDirectory, best: BestCheckpoint
) -> list[Callback]:
    """Return the callbacks that save the last checkpoint, average weights and stop early."""
    save_every = config["save_every"]
    if save_every is not None and (type(save_every) is not int or save_every < 1):
        raise InputError(f"save_every={save_every}: must be a number of steps, or null")
    callbacks: list[Callback] = [LastCheckpoint(run.checkpoints / "last.ckpt", save_every)]
    if (ema := config["ema"]) is not None:
        if not (isinstance(ema, float) and 0 < ema < 1):
            raise InputError(f"ema={ema}: must be a number between 0 and 1, such as 0.999")
        callbacks.append(EMAWeightAveraging(decay=ema))
    if (patience := config["patience"]) is not None:
        if type(patience) is not int or patience < 0:
            raise InputError(f"patience={patience}: must be a number of validations, or null")
        if not config["trainer"].get("limit_val_batches", 1):
            raise InputError(f"patience={patience}: needs validations; leave out trainer.limit_val_batches=0")
        callbacks.append(EarlyStopping(str(best.monitor), patience=patience, mode=best.mode))
    return callbacks


def begin_run(
    run: RunDirectory, config: Mapping[str, Any], overrides: Sequence[str], sources: Mapping[str, str]
) -> dict[str, float]:
    """Record the start of a run, or that it resumes, and return the metrics that it already has."""
    if config["resume"]:
        metrics = run.metrics()
        run.set_status("running", metrics=metrics)
        return metrics
    objective = config["objective"]
    init_files = {key: objective[key] for key in INIT_FILES if objective.get(key)}
    packages = plugin_packages(config)
    run.start(config, overrides, provenance({**sources, **init_files}, config["seed"], packages))
    return {}


@contextmanager
def recorded_status(run: RunDirectory) -> Iterator[None]:
    """Record in the status of a run if it is interrupted or fails."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the first into the second
        run.set_status("interrupted")
        raise KeyboardInterrupt from None
    except Exception as error:
        with suppress(InputError):  # on a full disk, the error itself matters more
            run.set_status("failed", error=f"{type(error).__name__}: {error}"[:2000])
        raise


@contextmanager
def explained_errors(trainer: pl.Trainer, overrides: Sequence[str]) -> Iterator[None]:
    """Explain incompatible model sizes, which only the first batch reveals, and wrong options of Lightning.

    Raises:
        InputError: If the first batch fails because of sizes, and overrides changed options of the model;
            or if Lightning finds an option wrong.
    """
    try:
        yield
    except MisconfigurationException as error:
        raise InputError(" ".join(str(error).split())) from error
    except RuntimeError as error:
        if trainer.world_size > 1 and CONNECTION_ERRORS.search(str(error)):
            raise LostProcessError("continue with resume=true") from error
        given = ", ".join(word for word in overrides if word.lstrip("+").startswith(("model.", "model=")))
        if trainer.global_step or not given or not SIZE_ERRORS.search(str(error)):
            raise
        raise InputError(f"{given}: incompatible sizes ({str(error).splitlines()[0]})") from error
