"""What is printed while a command runs: messages of bua, without those of libraries."""

import logging
import sys

from bua.io.progress import clear_bars

#: Loggers of libraries, and of Hydra's launchers and sweepers: bua says itself which jobs start and end.
NOISY = (
    *("pytorch_lightning", "lightning", "lightning_fabric", "lightning.fabric", "PIL"),
    *("alembic", "hydra", "hydra_plugins", "submitit"),
)


def configure_logging() -> None:
    """Print messages to the standard output, and of libraries only warnings."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    logging.root.handlers[0].addFilter(clear_bars)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
