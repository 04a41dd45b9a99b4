"""``bua train``: train a model from one configuration of data, model, task and trainer."""

import os
from contextlib import suppress
from dataclasses import dataclass, field

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from bua.cli.kinds import check_kinds
from bua.cli.main import NOT_NEGATIVE
from bua.engine.training import train
from bua.errors import InputError


@dataclass
class Options:
    """Keys of the command, described in conf/train.yaml, and the whole configuration."""

    seed: int = field(metadata=NOT_NEGATIVE)
    out: str
    monitor: str
    compile: bool
    resume: bool
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
    try:
        check_kinds(options.config, hydra.runtime.choices)
        metrics = train(options.config, list(hydra.overrides.task))
    except InputError:
        with suppress(OSError):  # Hydra makes the folder; nothing is in it if an option or a file was wrong
            os.rmdir(options.config.out)
        raise
    return metrics.get(f"best/{options.monitor}")
