"""The command line: ``bua COMMAND key=value ...``, every command a Hydra application.

Only this package composes Hydra configurations.
"""

from bua.cli.main import main

__all__ = ["main"]
