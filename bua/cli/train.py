"""``bua train``: data, model, task and trainer from one configuration."""

import logging
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint

from bua.cli.build import build, to_plain
from bua.cli.provenance import provenance
from bua.cli.run import Journal, RunDirectory
from bua.errors import InputError

log = logging.getLogger(__name__)


def main(config: Any) -> None:
    """Train what the configuration says into its run directory."""
    hydra = HydraConfig.get()
    train(config, Path(hydra.runtime.output_dir), list(hydra.overrides.task))


def train(config: Any, out: Path, overrides: list[str]) -> dict[str, float]:
    """Train and return the metrics of the last validation.

    Everything that the data decide (sizes, vocabularies) is written into the configuration of
    the run, so that the model can be built again from the run directory alone.
    """
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
    pl.seed_everything(config.seed, verbose=False)
    data = build(config.data)
    known = {name: size for name, size in data.sizes.items() if name in list(config.model)}
    plain = to_plain(OmegaConf.merge(config, {"model": known}))
    run = RunDirectory(out)
    run.start(plain, overrides, provenance(data.sources, config.seed), config.resume)
    try:
        return _fit(config, plain, data, run)
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the first into the second
        run.status("interrupted")
        raise KeyboardInterrupt from None
    except Exception as error:
        run.status("failed", error=f"{type(error).__name__}: {error}"[:2000])
        raise


def _fit(config: Any, plain: dict[str, Any], data: Any, run: RunDirectory) -> dict[str, float]:
    record = {"model": plain["model"], "objective": plain["objective"], **data.record}
    data.save(run.path)
    task = build(
        plain["objective"],
        model=build(plain["model"]),
        optimizer=build(plain["optimizer"]),
        scheduler=build(plain["scheduler"]) if plain.get("scheduler") else None,
        record=record,
        **data.parts,
    )
    checkpoint = run.last() if config.resume else None
    if config.resume and checkpoint is None:
        raise InputError(f"{run.path}: there is no checkpoint to resume from in {run.checkpoints}")
    log.info(f"{run.path}: {sum(p.numel() for p in task.parameters()):,} parameters")
    trainer = build(plain["trainer"], callbacks=_callbacks(config, run), logger=False)
    trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    run.status("done", metrics=metrics)
    return metrics


def _callbacks(config: Any, run: RunDirectory) -> list[Callback]:
    best = ModelCheckpoint(
        run.checkpoints,
        filename="best",
        monitor=config.monitor,
        mode="max",
        save_last=True,
        enable_version_counter=False,
    )
    callbacks: list[Callback] = [best, Journal(run, log.info)]
    if config.save_every is not None:
        callbacks.append(
            ModelCheckpoint(
                run.checkpoints,
                filename="step",
                every_n_train_steps=config.save_every,
                enable_version_counter=False,
            )
        )
    if config.patience is not None:
        callbacks.append(EarlyStopping(config.monitor, patience=config.patience, mode="max"))
    return callbacks
