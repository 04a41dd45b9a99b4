"""The command line: ``bua COMMAND key=value ...``, every command a Hydra application.

This package alone composes Hydra configurations. ``main`` imports neither Hydra nor torch, so that
``bua --help`` answers at once.
"""

from bua.cli.main import main

__all__ = ["main"]
