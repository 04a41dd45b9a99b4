"""``bua scenes``: the synthetic data set."""

import logging
from pathlib import Path
from typing import Any

from bua.data.scenes.world import CANVAS
from bua.data.scenes.write import SPLITS, write_scenes

log = logging.getLogger(__name__)


def main(config: Any) -> None:
    """Write the data set."""
    out = Path(config.out)
    write_scenes(
        out,
        seed=config.seed,
        counts={split: config[split] for split in SPLITS},
        questions=config.questions_each,
        workers=config.workers,
        report=log.info,
    )
    follows = f"bua extract images={out}/images out={out}/regions.h5"
    log.info(f"{out}: scenes of {CANVAS} x {CANVAS} pixels; next: {follows}")
