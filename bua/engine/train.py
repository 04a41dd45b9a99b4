"""``bua train``: data, model, task and trainer from one configuration."""

import inspect
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_class
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import Callback, EarlyStopping, EMAWeightAveraging, ModelCheckpoint

from bua.cli.overrides import reject_overrides
from bua.engine.callbacks import LastCheckpoint
from bua.engine.distributed import rank
from bua.engine.instantiate import instantiate, to_plain
from bua.engine.load import FORMAT, init_weights_from, read_checkpoint
from bua.engine.provenance import provenance
from bua.engine.run_directory import MetricsLogger, RunDirectory
from bua.errors import InputError

log = logging.getLogger(__name__)

#: Files of an objective that say what a model begins with.
BEGINNINGS = ("word_vectors", "answer_images")
#: What torch says of tensors whose sizes do not fit.
SIZES = re.compile(
    r"shapes cannot be multiplied|[Ss]izes? of tensors? .*must match|normalized_shape|size mismatch"
)
#: What of the trainer stays when a run goes on; how long and where it trains may change.
KEPT = ("precision", "gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches")


def main(config: Any) -> float | None:
    """Train into the run directory and return the last value of what is monitored, for sweeps."""
    hydra = HydraConfig.get()
    metrics = train(config, Path(hydra.runtime.output_dir), list(hydra.overrides.task))
    return metrics.get(config.monitor)


def train(config: Any, out: Path, overrides: list[str]) -> dict[str, float]:
    """Train and return the metrics of the last validation.

    Everything that the data decide (sizes, vocabularies) is written into the configuration of
    the run, so that the model can be built again from the run directory alone. Nothing is written before
    all parts are built: what is refused until then leaves no run behind.
    """
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
    # the first of several processes keeps the run directory
    run = RunDirectory(out, keeps=rank() == 0)
    if not config.resume:
        run.check_new()
    pl.seed_everything(config.seed, verbose=False)
    data = instantiate(config.data)
    known = {name: size for name, size in data.sizes.items() if name in list(config.model)}
    reject_overrides([f"model.{name}" for name in known], "the data decide it", overrides)
    plain = to_plain(OmegaConf.merge(config, {"model": known}))
    # what a model began from is not asked for again when it is built from its checkpoint
    model = {key: None if key == "pretrained" else value for key, value in plain["model"].items()}
    record = {"format": FORMAT, "model": model, "objective": plain["objective"], **data.record}
    if config.resume:
        _check_resume(run, plain, record)
    task = _task(config, plain, data, record)
    journal = MetricsLogger(run, log.info)
    trainer = instantiate(plain["trainer"], callbacks=_callbacks(config, run, journal), logger=False)
    before = run.metrics() if config.resume else {}
    if config.resume:
        run.status("running", metrics=before)
    else:
        begun = {key: plain["objective"][key] for key in BEGINNINGS if plain["objective"].get(key)}
        run.start(plain, overrides, provenance({**data.sources, **begun}, config.seed))
    try:
        if run.keeps:
            data.save(run.path)
            task.save(run.path)
            log.info(f"{run.path}: {sum(p.numel() for p in task.parameters()):,} parameters")
        with explain_size_mismatch(trainer, overrides):
            checkpoint = run.last() if config.resume else None
            trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True)
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the first into the second
        run.status("interrupted")
        raise KeyboardInterrupt from None
    except Exception as error:
        run.status("failed", error=f"{type(error).__name__}: {error}"[:2000])
        raise
    metrics = before | {n: float(v) for n, v in trainer.callback_metrics.items()} | journal.means
    run.status("done", metrics=metrics)
    if run.keeps and not run.best().exists() and not trainer.fast_dev_run:
        log.info(f"{run.path}: no validation was due; the last weights are what it has")
    return metrics


def _check_resume(run: RunDirectory, plain: dict[str, Any], record: dict[str, Any]) -> None:
    """Raise ``InputError`` if a run cannot go on as it began."""
    checkpoint = run.last()
    if checkpoint is None:
        raise InputError(f"{run.path}: there is no checkpoint in it to resume from; delete it and start anew")
    before, config = read_checkpoint(checkpoint)[0], run.config()
    changed = [key for key in record if before.get(key) != record[key]]
    changed.sort(key=lambda key: key == "model")  # its sizes follow from the rest
    changed += [key for key in ("optimizer", "scheduler", "seed", "ema") if config.get(key) != plain.get(key)]
    data, trainer = ({**config[key]} for key in ("data", "trainer"))
    changed += [f"data.{k}" for k in plain["data"] if k != "workers" and data.get(k) != plain["data"][k]]
    changed += [f"trainer.{k}" for k in KEPT if trainer.get(k) != plain["trainer"].get(k)]
    if changed:
        raise InputError(f"{run.path}: {changed[0]} is not that of the run; resume with the same options")
    if _is_for_a_length(plain.get("scheduler")):
        for key in ("max_epochs", "max_steps"):
            length = config["trainer"].get(key)
            if length != plain["trainer"].get(key):
                raise InputError(
                    f"{run.path}: its schedule was made for trainer.{key}={length}; resume with the same"
                )


def _is_for_a_length(scheduler: dict[str, Any] | None) -> bool:
    """Say whether a schedule depends on how long the training is."""
    if not scheduler:
        return False
    return "total_steps" in inspect.signature(get_class(scheduler["_target_"])).parameters


def _task(config: Any, plain: dict[str, Any], data: Any, record: dict[str, Any]) -> Any:
    """Build the model and what it is trained for."""
    model = instantiate(plain["model"])
    if config.compile:
        model.compile()  # in place: its parameters keep their names
    objective = plain["objective"]
    if config.resume:  # the checkpoint has what it began with
        objective = {**objective, **{key: None for key in BEGINNINGS if key in objective}}
    elif getattr(model, "fixed_words", False) and not objective.get("word_vectors") and not config.start:
        raise InputError("model.fixed_words=true: words that do not learn need objective.word_vectors=FILE")
    task = instantiate(
        objective,
        model=model,
        optimizer=instantiate(plain["optimizer"]),
        scheduler=instantiate(plain["scheduler"]) if plain.get("scheduler") else None,
        record=record,
        **data.parts,
    )
    if config.get("start") is not None and not config.resume:
        init_weights_from(model, config.start, record)  # last: it has the word over what the task begins with
    return task


@contextmanager
def explain_size_mismatch(trainer: pl.Trainer, overrides: list[str]) -> Iterator[None]:
    """Tell sizes of a model that do not fit each other, which show in its first batch only.

    Raises:
        InputError: the first batch failed on sizes, and the command line gives some of the model.
    """
    try:
        yield
    except RuntimeError as error:
        given = ", ".join(word for word in overrides if word.lstrip("+").startswith(("model.", "model=")))
        if trainer.global_step or not given or not SIZES.search(str(error)):
            raise
        raise InputError(
            f"{given}: sizes that do not fit each other ({str(error).splitlines()[0]})"
        ) from error


def _callbacks(config: Any, run: RunDirectory, journal: MetricsLogger) -> list[Callback]:
    best = ModelCheckpoint(
        run.checkpoints,
        filename="best",
        monitor=config.monitor,
        mode="max",
        enable_version_counter=False,
    )
    # by itself: Lightning's save_last saves only when there is a new best one
    callbacks: list[Callback] = [best, LastCheckpoint(run.checkpoints / "last.ckpt"), journal]
    if config.save_every is not None:
        if type(config.save_every) is not int or config.save_every < 1:
            raise InputError(f"save_every={config.save_every}: a number of steps is needed, or null")
        callbacks.append(
            ModelCheckpoint(
                run.checkpoints,
                filename="step",
                every_n_train_steps=config.save_every,
                enable_version_counter=False,
            )
        )
    if config.ema is not None:
        if not (isinstance(config.ema, float) and 0 < config.ema < 1):
            raise InputError(f"ema={config.ema}: a number between 0 and 1 is needed, such as 0.999")
        callbacks.append(EMAWeightAveraging(decay=config.ema))
    if config.patience is not None:
        if type(config.patience) is not int or config.patience < 0:
            raise InputError(f"patience={config.patience}: a number of validations is needed, or null")
        callbacks.append(EarlyStopping(config.monitor, patience=config.patience, mode="max"))
    return callbacks
