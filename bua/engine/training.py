"""Training from a configuration: data, model, task and trainer."""

import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import Callback, Checkpoint, ProgressBar
from torch import nn

from bua.data.datamodule import ResumableDataModule
from bua.engine.callback_group import instantiate_callbacks, resolve_monitors
from bua.engine.callbacks import BestCheckpoint
from bua.engine.checkpoint_io import AtomicCheckpointIO
from bua.engine.instantiate import check_optimization, check_trainer, instantiate, to_plain
from bua.engine.loading import FORMAT, init_weights_from
from bua.engine.loggers import instantiate_loggers, log_result, started
from bua.engine.metrics_logger import MetricsLogger, logged_metrics
from bua.engine.resuming import can_resume, check_resumable, checkpoint_step, intact_checkpoint
from bua.engine.run_directory import RunDirectory, provenance
from bua.engine.run_options import INIT_FILES, with_absolute_paths
from bua.engine.run_report import describe_begin, describe_end, describe_outputs
from bua.engine.targets import plugin_packages
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
    run, is_trial = RunDirectory(config.out), bool(config.trainer.get("fast_dev_run"))
    config = OmegaConf.merge(config, {"resume": bool(config.resume) and can_resume(run)})
    if config.resume and is_trial:
        raise InputError("trainer.fast_dev_run: writes no run to resume; leave out resume=true")
    if not (config.resume or is_trial):
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
    resolved = resolve_monitors(resolved, task.metrics)
    loggers = instantiate_loggers(resolved["logger"], run, step=checkpoint_step(checkpoint))
    callbacks = instantiate_callbacks(resolved, run, has_loggers=bool(loggers))
    metrics_logger = MetricsLogger(run.path / "metrics.csv", log.info)
    listed = [*callbacks.values(), metrics_logger]
    trainer = instantiate_trainer(resolved["trainer"], run, listed, list(loggers.values()))

    if is_trial:
        report(describe_begin(task, data, "nothing (trainer.fast_dev_run)"), trainer)
        with explained_errors(trainer, overrides):
            trainer.fit(task, data)
        return logged_metrics(trainer) | metrics_logger.means
    with run.locked(), recorded_status(run), explained_errors(trainer, overrides):
        previous, parameters = begin_run(run, resolved, overrides, data.sources)
        if run.is_writer:
            data.save(run.path)
            task.save(run.path)
        report(describe_begin(task, data, describe_outputs(run, loggers)), trainer)
        with started(loggers, run, parameters):
            trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True)
            best = callbacks.get("best")
            found = best.metric if isinstance(best, BestCheckpoint) else {}
            metrics = previous | logged_metrics(trainer) | metrics_logger.means | found
            log_result(loggers, parameters, found)
        run.set_status("done", metrics=metrics)
    report(describe_end(run, trainer), trainer)
    return metrics


def report(lines: Iterator[str], trainer: pl.Trainer) -> None:
    """Log lines, in the first of several processes."""
    if trainer.is_global_zero:
        for line in lines:
            log.info(line)


#: Modules of Lightning whose messages are what the user asked for: the tables of a profiler and of a model.
REPORTING = ("pytorch_lightning.profilers.profiler", "pytorch_lightning.callbacks.model_summary")


def instantiate_trainer(
    config: Mapping[str, Any], run: RunDirectory, callbacks: Sequence[Callback], loggers: Sequence[Any]
) -> pl.Trainer:
    """Build the trainer.

    Args:
        config: Configuration of the trainer.
        run: The run, below which Lightning writes what it writes by itself.
        callbacks: Callbacks.
        loggers: Loggers.

    Raises:
        InputError: If Lightning or bua refuses an option.
    """
    check_trainer(config)
    for name in REPORTING:
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.handlers, logger.propagate = list(logging.getLogger().handlers), False
    try:
        trainer: pl.Trainer = instantiate(
            config,
            callbacks=list(callbacks),
            logger=list(loggers) or False,
            default_root_dir=str(run.path),
            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
            enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        )
    except RuntimeError as error:  # of callbacks that cannot be used together
        raise InputError(f"callbacks: {' '.join(str(error).split())}") from error
    trainer.strategy.checkpoint_io = AtomicCheckpointIO()
    return trainer


def resolve_config(config: Any, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration as plain values, with absolute paths and the sizes that the data determine.

    Raises:
        InputError: If the configuration sets such a size; that of a run that resumes may have it.
    """
    model_keys = list(config.model)  # includes keys that are still missing, unlike `in`
    determined = {name: size for name, size in sizes.items() if name in model_keys}
    for name in determined:
        if OmegaConf.is_missing(config.model, name) or (config.resume and config.model[name] == sizes[name]):
            continue
        raise InputError(f"model.{name}={config.model[name]}: is determined by the data; leave it out")
    resolved: dict[str, Any] = to_plain(OmegaConf.merge(config, {"model": determined}))
    return with_absolute_paths(resolved)


def checkpoint_record(config: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain values stored in every checkpoint, with classes by their public names."""
    # weights that initialized the model are not needed to build it from its checkpoint
    model = {key: None if key == "pretrained" else value for key, value in config["model"].items()}
    objective = {k: None if k in INIT_FILES else v for k, v in to_public(config["objective"]).items()}
    return {"format": FORMAT, "model": to_public(model), "objective": objective, **data}


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


def begin_run(
    run: RunDirectory, config: Mapping[str, Any], overrides: Sequence[str], sources: Mapping[str, str]
) -> tuple[dict[str, float], dict[str, Any]]:
    """Record the start of a run, or that it resumes.

    Returns:
        The metrics that it already has; and its options with the commit of bua, for loggers.
    """
    options = {**config, "resume": False}
    if config["resume"]:
        metrics = run.metrics()
        run.resume(options)
    else:
        metrics, objective = {}, config["objective"]
        init_files = {key: objective[key] for key in INIT_FILES if objective.get(key)}
        packages = plugin_packages(config)
        run.start(options, overrides, provenance({**sources, **init_files}, config["seed"], packages))
    return metrics, {**options, "git": run.git_state()}


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
    except (MisconfigurationException, ModuleNotFoundError) as error:
        raise InputError(" ".join(str(error).split())) from error
    except RuntimeError as error:
        if trainer.world_size > 1 and CONNECTION_ERRORS.search(str(error)):
            raise LostProcessError("continue with resume=true") from error
        given = ", ".join(word for word in overrides if word.lstrip("+").startswith(("model.", "model=")))
        if trainer.global_step or not given or not SIZE_ERRORS.search(str(error)):
            raise
        raise InputError(f"{given}: incompatible sizes ({str(error).splitlines()[0]})") from error
