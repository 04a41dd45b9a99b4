"""Loggers of a training run: TensorBoard, Weights & Biases, MLflow, or any other of Lightning's.

``metrics.csv`` is written by ``bua.engine.metrics_logger``, whatever the loggers.
"""

import importlib.util
import inspect
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from PIL import Image
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from bua.engine.instantiate import instantiate
from bua.engine.run_directory import RunDirectory
from bua.errors import InputError
from bua.io.files import read_json
from bua.io.write import write_text

#: Packages of the loggers, by the name of their class.
PACKAGES = {
    "CometLogger": "comet_ml",
    "LitLogger": "litlogger",
    "MLFlowLogger": "mlflow",
    "TensorBoardLogger": "tensorboard",
    "WandbLogger": "wandb",
}
#: Loggers that write files into a folder.
WITH_FILES = ("CSVLogger", "TensorBoardLogger", "WandbLogger")
#: File of a run that names what a resumed run continues in a logger, by the name of the logger.
IDS = "loggers.json"


def instantiate_loggers(
    configs: Mapping[str, Any] | None, run: RunDirectory, *, step: int | None
) -> dict[str, Logger]:
    """Build the loggers of a configuration, which write below the run directory unless told otherwise.

    Args:
        configs: Configurations by name; ``None`` for a logger that was removed.
        run: The run.
        step: Step from which the run resumes, or ``None`` if it is new.

    Returns:
        Loggers by name, without those that are optional and not installed.

    Raises:
        InputError: If a package is missing, or a configuration is none of a logger.
    """
    loggers = {}
    ids = _read_ids(run) if step is not None else {}
    for name, config in (configs or {}).items():
        if config is None:
            continue
        options = _options(name, config)
        if options.pop("optional", False) and not _is_installed(options["_target_"]):
            continue
        options = _with_run_values(name, options, run)
        loggers[name] = _instantiate(name, options, ids.get(name), step)
    return loggers


def _options(name: str, config: Any) -> dict[str, Any]:
    if not isinstance(config, Mapping) or not config.get("_target_"):
        raise InputError(
            f"logger.{name}={config}: must have a class: logger.{name}._target_=CLASS; or use logger={name}"
        )
    return dict(config)


def _is_installed(target: str) -> bool:
    package = PACKAGES.get(target.rpartition(".")[2])
    return package is None or importlib.util.find_spec(package) is not None


def _with_run_values(name: str, options: dict[str, Any], run: RunDirectory) -> dict[str, Any]:
    """Return options with the name of the run where they leave it open, and with its folder."""
    named: dict[str, Any] = {
        key: run.path.name for key in ("name", "run_name") if key in options and options[key] is None
    }
    kind, values = options["_target_"].rpartition(".")[2], dict[str, Any]()
    if kind in WITH_FILES:
        values["save_dir"] = str(run.path / name)
    if kind == "TensorBoardLogger":  # no folders below, and no metric that is none
        values |= {"name": "", "version": "", "default_hp_metric": False}
    return {**values, **options, **named}


def _instantiate(name: str, options: dict[str, Any], identity: str | None, step: int | None) -> Logger:
    kind = options["_target_"].rpartition(".")[2]
    values: dict[str, Any] = {}
    if kind == "TensorBoardLogger" and step is not None:
        values["purge_step"] = step + 1  # of what was logged after the checkpoint
    if identity is not None and (key := {"WandbLogger": "id", "MLFlowLogger": "run_id"}.get(kind)):
        options = {**options, key: options.get(key) or identity}
    if kind == "WandbLogger":
        os.environ.setdefault("WANDB_SILENT", "true")  # its lines are not about what was asked for
        if options.pop("offline", False):  # Lightning's option would hold for all runs of this process
            options["mode"] = "offline"
    if not _is_installed(options["_target_"]):
        package = PACKAGES[kind]
        raise InputError(f"logger.{name}: the package {package} is not installed; pip install {package}")
    if kind == "MLFlowLogger" and not options.get("tracking_uri"):
        raise InputError(
            f"logger.{name}.tracking_uri must be given: http://SERVER or sqlite:///mlflow.db, or set "
            "MLFLOW_TRACKING_URI"
        )
    try:
        logger: Logger = instantiate(options, kind=Logger, **values)
    except InputError as error:
        raise InputError(f"logger.{name}: {error}") from error
    except Exception as error:  # of a package that the logger uses
        raise InputError(f"logger.{name}: {_first_line(error)}") from error
    if isinstance(logger, WandbLogger):  # Lightning sets what wandb warns about, whatever the value
        logger._wandb_init.pop("anonymous", None)
    return logger


@contextmanager
def started(
    loggers: Mapping[str, Logger], run: RunDirectory, parameters: Mapping[str, Any]
) -> Iterator[None]:
    """Start loggers, which may connect to a server, with the parameters of a run, and finish them.

    Args:
        loggers: Loggers by name.
        run: The run, which records what a logger calls it.
        parameters: Configuration and provenance, nested; logged once in each logger.

    Raises:
        InputError: If a logger cannot start, such as without a login.
    """
    known = _read_ids(run)
    for name, logger in loggers.items():
        try:
            _ = logger.experiment  # type: ignore[attr-defined]
            if name not in known and run.is_writer:
                logger.log_hyperparams(dict(parameters))
        except (InputError, KeyboardInterrupt):
            raise
        except Exception as error:
            reason = _first_line(error)
            hint = f", or logger.{name}.offline=true" if "wandb login" in reason else ""
            raise InputError(f"logger.{name}: {reason.rstrip('.')}{hint}") from error
    if run.is_writer and loggers:
        ids = {name: str(logger.version) for name, logger in loggers.items()}
        write_text(run.path / IDS, json.dumps(known | ids))
    try:
        yield
    finally:
        for logger in loggers.values():
            if isinstance(logger, WandbLogger) and run.is_writer:
                logger.experiment.finish()  # otherwise the next run of this process would be part of it


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def log_result(
    loggers: Mapping[str, Any], parameters: Mapping[str, Any], metrics: Mapping[str, float]
) -> None:
    """Send the best value of a run to TensorBoard, which lists it beside the parameters of the run."""
    for logger in loggers.values():
        if isinstance(logger, TensorBoardLogger) and metrics:
            logger.log_hyperparams(dict(parameters), dict(metrics))


def _read_ids(run: RunDirectory) -> dict[str, str]:
    """Return what each logger calls the run."""
    with suppress(InputError):
        ids = read_json(run.path / IDS)
        if isinstance(ids, dict):
            return {str(name): str(value) for name, value in ids.items()}
    return {}


def shows_pictures(logger: Any) -> bool:
    """Return whether a logger takes pictures with a text."""
    return isinstance(logger, TensorBoardLogger | MLFlowLogger) or hasattr(logger, "log_image")


def log_pictures(
    loggers: Sequence[Any], key: str, pictures: Sequence[Image.Image], texts: Sequence[str], step: int
) -> None:
    """Send pictures with their texts to the loggers that take them.

    Args:
        loggers: Loggers.
        key: Name of the pictures, such as "val/samples".
        pictures: Pictures.
        texts: Text of each picture.
        step: Optimizer step.
    """
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            for n, (picture, text) in enumerate(zip(pictures, texts, strict=True)):
                logger.experiment.add_image(f"{key}/{n}", np.asarray(picture), step, dataformats="HWC")
                logger.experiment.add_text(f"{key}/{n}", text, step)
        elif isinstance(logger, MLFlowLogger):
            for n, (picture, text) in enumerate(zip(pictures, texts, strict=True)):
                file = f"{key}/{step:08}_{n}"
                logger.experiment.log_image(logger.run_id, picture, f"{file}.png")
                logger.experiment.log_text(logger.run_id, text, f"{file}.txt")
        elif shows_pictures(logger):
            captions = {"caption": list(texts)}
            takes = "kwargs" in inspect.signature(logger.log_image).parameters
            logger.log_image(key, list(pictures), step=step, **(captions if takes else {}))
