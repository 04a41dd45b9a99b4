"""The command line: ``bua COMMAND key=value ...``, every command a Hydra application.

This package alone composes Hydra configurations.
"""

from bua.cli.main import main

__all__ = ["main"]
