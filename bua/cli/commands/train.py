"""``bua train``: train a model from one configuration of data, model, task and trainer."""

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from bua.cli.kinds import check_kinds
from bua.cli.logs import configure_logging
from bua.cli.options import NOT_NEGATIVE
from bua.engine.training import train
from bua.errors import InputError
from bua.io.processes import has_launcher
from bua.sweep import resolvers as resolvers  # registers those of the job's folder
from bua.sweep.jobs import best_value, has_begun, is_done


@dataclass
class Options:
    """Keys of the command, described in conf/train.yaml, and the whole configuration."""

    seed: int = field(metadata=NOT_NEGATIVE)
    out: str
    monitor: str
    compile: bool
    resume: bool
    run: str | None
    mode: str | None
    features: str | None
    captions: str | None
    val_captions: str | None
    train_ids: str | None
    val_ids: str | None
    questions: str | list[str] | None
    annotations: str | list[str] | None
    val_questions: str | list[str] | None
    val_annotations: str | list[str] | None
    instances: str | None
    val_instances: str | None
    images: str | None
    scenes: str | None
    genome: str | None
    word_vectors: str | None
    extra_words: str | None
    vocabulary_file: str | None
    init_from: str | None
    config: DictConfig


def main(options: Options) -> float | None:
    """Train into the run directory, and return the best value of the monitored metric, for sweeps."""
    hydra = HydraConfig.get()
    options.config.out = hydra.runtime.output_dir
    if hydra.mode is RunMode.MULTIRUN:
        configure_logging()  # in the processes of other launchers, too
        if options.resume and is_done(Path(options.config.out)):
            return best_value(Path(options.config.out))
        options.config.resume = options.resume and has_begun(Path(options.config.out))
    elif (search := hydra.runtime.choices.get("hparams_search")) and not has_launcher():
        raise InputError(f"hparams_search={search}: is for sweeps; add -m")
    try:
        check_kinds(options.config, hydra.runtime.choices)
        metrics = train(options.config, list(hydra.overrides.task))
    finally:
        with suppress(OSError):  # Hydra makes the folder; nothing is in it after a mistake or a trial
            os.rmdir(options.config.out)
    return metrics.get(f"best/{options.monitor}")
