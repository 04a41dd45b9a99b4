"""``bua export-detector``: write a trained detector to one small file for ``bua extract``."""

import logging
from dataclasses import dataclass
from pathlib import Path

from bua.evaluation.export_detector import export_detector

log = logging.getLogger(__name__)


@dataclass
class Options:
    """Keys of the command, described in conf/export_detector.yaml."""

    run: str
    out: str
    instances: str
    images: str


def main(options: Options) -> None:
    """Export the detector and print its size and precision."""
    out = Path(options.out)
    content = export_detector(Path(options.run), out, Path(options.instances), Path(options.images))
    log.info(f"{out}: {content['bytes']:,} bytes, AP50 {content['measured']['AP50']:.3f}")
