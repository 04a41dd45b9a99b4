"""The callbacks of a configuration: checked, completed with what the run determines, and built."""

import difflib
import logging
from collections.abc import Mapping
from typing import Any

from pytorch_lightning.callbacks import Callback, ProgressBar

from bua.engine.instantiate import instantiate
from bua.engine.run_directory import RunDirectory
from bua.errors import InputError
from bua.io.progress import terminal

log = logging.getLogger(__name__)

#: Options without which a callback is left out, by the name of its class.
SWITCHES = {"EarlyStopping": "patience", "EMAWeightAveraging": "decay"}
#: How alike a metric that does not exist and another one must be for a typing error.
ALIKE = 0.92


def resolve_monitors(config: dict[str, Any], metrics: Mapping[str, str]) -> dict[str, Any]:
    """Return a configuration in which every monitored metric has a mode.

    Args:
        config: Configuration of the training as plain values.
        metrics: Metrics of the objective, each with "max" or "min".

    Raises:
        InputError: If a mode is neither "max" nor "min", or there is no such metric.
    """
    mode = monitor_mode("", config["monitor"], config["mode"], metrics)
    callbacks = {}
    for name, options in (config["callbacks"] or {}).items():
        is_same = isinstance(options, Mapping) and options.get("monitor") == config["monitor"]
        if is_same and options.get("mode") == config["mode"]:
            options = {**options, "mode": mode}
        elif isinstance(options, Mapping) and options.get("monitor") is not None:
            found = monitor_mode(f"callbacks.{name}.", options["monitor"], options.get("mode"), metrics)
            options = {**options, "mode": found}
        callbacks[name] = options
    return {**config, "mode": mode, "callbacks": callbacks}


def monitor_mode(prefix: str, monitor: str, mode: str | None, metrics: Mapping[str, str]) -> str:
    """Return which value of a metric is best: the highest ("max") or the lowest ("min").

    A metric that the objective does not have may be that of a callback, if its mode is given.

    Args:
        prefix: Key above ``monitor``, for messages.
        monitor: Name of the metric.
        mode: Mode that the user has given, or ``None``.
        metrics: Metrics of the objective, each with its mode.

    Raises:
        InputError: If there is no such metric or mode.
    """
    if mode not in (None, "max", "min"):
        raise InputError(f"{prefix}mode={mode}: must be max, min or null")
    if monitor in metrics:
        return mode or metrics[monitor]
    listed = ", ".join(metrics)
    close = difflib.get_close_matches(str(monitor), metrics, n=1, cutoff=ALIKE if mode else 0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    if mode is None or close:
        other = "" if mode else f", or give {prefix}mode= for the metric of a callback"
        raise InputError(f"{prefix}monitor={monitor}: must be one of {listed}{hint or other}")
    log.info(f"{prefix}monitor={monitor}: is none of {listed}; a callback must log it in every validation")
    return mode


def instantiate_callbacks(
    config: Mapping[str, Any], run: RunDirectory, *, has_loggers: bool
) -> dict[str, Callback]:
    """Build the callbacks of a configuration.

    A callback is left out if it is ``null``, if its switch is (the patience of early stopping, the decay of
    the moving average), or if it is a progress bar and there is no terminal.

    Args:
        config: Configuration of the training, with a mode for every monitored metric.
        run: The run, in whose directory checkpoints are saved.
        has_loggers: Whether there are loggers beside ``metrics.csv``.

    Returns:
        Callbacks by name.

    Raises:
        InputError: If an option is wrong, or something is no callback.
    """
    callbacks = {}
    for name, options in (config["callbacks"] or {}).items():
        if options is None:
            continue
        if not isinstance(options, Mapping) or not options.get("_target_"):
            raise InputError(
                f"callbacks.{name}={options}: must have a class: callbacks.{name}._target_=CLASS, or be null"
            )
        kind = options["_target_"].rpartition(".")[2]
        if kind in SWITCHES and SWITCHES[kind] in options:
            if options[SWITCHES[kind]] is None:
                continue
            _check_switch(f"callbacks.{name}.", kind, options, config["trainer"])
        if kind == "DeviceStatsMonitor" and not has_loggers:
            raise InputError(f"callbacks.{name}: needs a logger, such as logger=tensorboard")
        callback = _instantiate(name, {**_run_values(kind, run), **options})
        if isinstance(callback, ProgressBar) and terminal() is None:
            continue
        callbacks[name] = callback
    return callbacks


def _check_switch(prefix: str, kind: str, options: Mapping[str, Any], trainer: Mapping[str, Any]) -> None:
    value = options[SWITCHES[kind]]
    if kind == "EMAWeightAveraging":
        if not (isinstance(value, float) and 0 < value < 1):
            raise InputError(
                f"{prefix}decay={value}: must be a number between 0 and 1, such as 0.999, or null"
            )
    elif type(value) is not int or value < 0:
        raise InputError(f"{prefix}patience={value}: must be a number of validations, or null")
    elif not trainer.get("limit_val_batches", 1):
        raise InputError(
            f"{prefix}patience={value}: needs validations; leave out trainer.limit_val_batches=0"
        )


def _run_values(kind: str, run: RunDirectory) -> dict[str, Any]:
    """Return the options of a class that the run determines, unless the user gives them."""
    folder = str(run.checkpoints)
    return {
        "BestCheckpoint": {"folder": folder},
        "LastCheckpoint": {"path": str(run.checkpoints / "last.ckpt")},
        "ModelCheckpoint": {"dirpath": folder},
    }.get(kind, {})


def _instantiate(name: str, options: Mapping[str, Any]) -> Callback:
    target = str(options["_target_"])
    is_rich = target.endswith(".RichProgressBar")
    values: dict[str, Any] = {"console_kwargs": {"file": terminal()}} if is_rich else {}
    try:
        callback = instantiate(dict(options), **values)
    except (InputError, ImportError) as error:
        raise InputError(f"callbacks.{name}: {' '.join(str(error).split())}{_other_name(target)}") from error
    if not isinstance(callback, Callback):
        raise InputError(f"callbacks.{name}: {target} is not a callback of Lightning")
    return callback


def _other_name(target: str) -> str:
    """Return a hint for a class of the package ``lightning``, which bua knows as ``pytorch_lightning``."""
    for package in ("lightning.pytorch.", "lightning."):
        if target.startswith(package):
            return f"; did you mean pytorch_lightning.{target.removeprefix(package)}?"
    return ""
