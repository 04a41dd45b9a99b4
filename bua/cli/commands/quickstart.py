"""``bua quickstart``: run the whole pipeline on synthetic scenes, from images to a report."""

import logging
import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hydra import compose
from hydra.core.hydra_config import HydraConfig

from bua.cli.options import NOT_NEGATIVE, POSITIVE
from bua.cli.text import unquote
from bua.errors import InputError
from bua.quickstart.pipeline import Quickstart, describe_results

log = logging.getLogger(__name__)


@dataclass
class Options:
    """Keys of the command, described in conf/quickstart.yaml."""

    out: str
    seed: int = field(metadata=NOT_NEGATIVE)
    train: int = field(metadata=NOT_NEGATIVE)
    val: int = field(metadata=NOT_NEGATIVE)
    test: int = field(metadata=NOT_NEGATIVE)
    novel: int = field(metadata=NOT_NEGATIVE)
    questions_per_image: int = field(metadata=POSITIVE)
    epochs: int | None = field(metadata=POSITIVE)
    num_workers: int = field(metadata=NOT_NEGATIVE)


def main(options: Options) -> None:
    """Run every stage that is not done yet."""
    if not options.train or not options.val or not options.test:
        raise InputError("train, val and test must each be at least 1")
    command = " ".join(
        ["bua quickstart", *(shlex.quote(unquote(word)) for word in HydraConfig.get().overrides.task)]
    )
    decisive = {k: v for k, v in asdict(options).items() if k not in ("out", "num_workers")}
    quickstart = Quickstart(
        Path(options.out), decisive, num_workers=options.num_workers, command=command, compose=compose
    )
    for line in describe_results(quickstart.run(), Path(options.out)):
        log.info(line)
