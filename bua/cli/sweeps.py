"""Sweeps of ``bua train -m``: what is checked and recorded before the first job starts."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from bua.cli.text import quote
from bua.errors import InputError
from bua.sweep import resolvers as resolvers
from bua.sweep.directory import SweepDirectory

log = logging.getLogger(__name__)


@contextmanager
def prepared_sweep(name: str, typed: Sequence[str], words: Sequence[str]) -> Iterator[list[str]]:
    """Be the only process that runs a sweep, and yield the words for Hydra.

    Args:
        name: Name of the configuration.
        typed: Words of the command line after the command.
        words: The same words, quoted for Hydra.

    Raises:
        InputError: If the directory holds another sweep, or another process runs this one; if the search
            goes in the wrong direction, or the launcher cannot train on several devices.
    """
    overrides = OverridesParser.create().parse_overrides([w for w in words if "=" in w and w[0] != "-"])
    config = _compose_first(name, words, overrides)
    check_direction(config)
    check_launcher(config)
    sweeper = config.hydra.sweeper
    searched = set(sweeper.get("params") or {})
    fixed = {o.get_key_element().lstrip("+") for o in overrides if not o.is_sweep_override()} - searched
    directory, total = (
        SweepDirectory(Path(str(config.hydra.sweep.dir)).absolute()),
        count_jobs(sweeper, overrides),
    )
    keys = ",".join(f"'{key}'" for key in sorted(fixed | {"out", "resume"}))
    with directory.locked():
        directory.begin(typed, sorted(fixed), total, resume=config.resume)
        with _explained_search(directory) if "optuna" in sweeper._target_ else nullcontext():
            yield [
                *(word for word in words if not word.startswith("out=")),
                f"out={quote(str(directory.path), ())}",
                f"hydra.job.config.override_dirname.exclude_keys=[{keys}]",
            ]
        log.info(f"{directory.path}: {directory.describe()}; next: bua sweep table {directory.path}")


@contextmanager
def _explained_search(directory: SweepDirectory) -> Iterator[None]:
    """Hide Optuna's own messages, and explain that all of its jobs failed."""
    import optuna

    optuna.logging.set_verbosity(logging.WARNING)
    try:
        yield
    except ValueError as error:
        if "No trials are completed" not in str(error):
            raise
        raise InputError(f"{directory.path}: all jobs failed, see its logs") from None


def _compose_first(name: str, words: Sequence[str], overrides: Sequence[Override]) -> Any:
    """Return the configuration of a sweep with the first of all values."""
    first = [word for word in map(_first_value, overrides) if word]
    folders = (word.partition("=")[2] for word in words if word.startswith("--config-dir="))
    first += [f"hydra.searchpath=['file://{os.path.abspath(folder)}']" for folder in folders]
    GlobalHydra.instance().clear()
    with initialize_config_module("bua.conf", version_base="1.3"):
        return compose(name, first, return_hydra_config=True)


def _first_value(override: Override) -> str:
    """Return an override with the first of its values; nothing if they are not listed."""
    if not override.is_sweep_override():
        return str(override.input_line)
    if not override.is_discrete_sweep():
        return ""
    return f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"


def count_jobs(sweeper: Any, overrides: Sequence[Override]) -> int | None:
    """Return the number of jobs of a sweep, or ``None`` if its sweeper decides it as it goes on."""
    if not sweeper._target_.endswith(".BasicSweeper"):
        trials = sweeper.get("n_trials")
        return trials if isinstance(trials, int) else None
    parameters = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
    listed = [*OverridesParser.create().parse_overrides(parameters), *overrides]
    lengths = {o.get_key_element(): _num_values(o) for o in listed}
    product = 1
    for length in lengths.values():
        product *= length
    return product


def _num_values(override: Override) -> int:
    if not override.is_sweep_override():
        return 1
    if not override.is_discrete_sweep():
        raise InputError(f"{override.input_line}: needs a sweeper that draws values: hparams_search=optuna")
    return sum(1 for _ in override.sweep_string_iterator())


def check_direction(config: Any) -> None:
    """Raise ``InputError`` if a search would look for the worst value of the monitored metric."""
    direction = config.hydra.sweeper.get("direction")
    monitor = OmegaConf.select(config, "monitor", throw_on_missing=False)
    if direction is None or monitor is None:
        return
    right = resolvers.direction(monitor)
    found = str(getattr(direction, "name", direction))
    if found != right:
        raise InputError(
            f"hydra.sweeper.direction={found}: the best {monitor} needs hydra.sweeper.direction={right}, "
            "which hparams_search=optuna sets"
        )


def check_launcher(config: Any) -> None:
    """Raise ``InputError`` if a job would train on several devices in a process that is not its own."""
    launcher, trainer = str(config.hydra.runtime.choices["hydra/launcher"]), config.trainer
    several = trainer.devices != 1 or trainer.get("num_nodes", 1) != 1
    if launcher in ("basic", "joblib") and several:
        raise InputError(
            f"trainer.devices={trainer.devices}: several devices need a process of their own for each job; "
            f"use hydra/launcher=processes, not {launcher}"
        )
