"""``bua scenes``: write the synthetic data set."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from bua.cli.options import NOT_NEGATIVE, POSITIVE
from bua.data.scenes.world import CANVAS
from bua.data.scenes.write import SPLITS, write_scenes

log = logging.getLogger(__name__)


@dataclass
class Options:
    """Keys of the command, described in conf/scenes.yaml."""

    out: str
    seed: int = field(metadata=NOT_NEGATIVE)
    train: int = field(metadata=NOT_NEGATIVE)
    val: int = field(metadata=NOT_NEGATIVE)
    test: int = field(metadata=NOT_NEGATIVE)
    novel: int = field(metadata=NOT_NEGATIVE)
    questions_per_image: int = field(metadata=POSITIVE)
    num_workers: int = field(metadata=NOT_NEGATIVE)


def main(options: Options) -> None:
    """Write the data set."""
    out = Path(options.out)
    write_scenes(
        out,
        seed=options.seed,
        counts={split: getattr(options, split) for split in SPLITS},
        questions=options.questions_per_image,
        num_workers=options.num_workers,
        report=log.info,
    )
    next_step = f"bua extract images={out}/images out={out}/regions.h5"
    log.info(f"{out}: scenes of {CANVAS} x {CANVAS} pixels; next: {next_step}")
