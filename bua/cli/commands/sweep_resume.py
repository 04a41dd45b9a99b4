"""``bua sweep resume``: go on with a sweep that was interrupted, and try again what failed."""

import os
from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from bua.cli.options import FollowUp
from bua.sweep.directory import SweepDirectory


@dataclass
class Options:
    """Keys of the command, described in conf/sweep_resume.yaml."""

    sweep: str


def main(options: Options) -> FollowUp:
    """Return the command of the sweep, which skips jobs that are done and resumes those that have begun."""
    path = Path(options.sweep).absolute()
    record = SweepDirectory(path).record()
    if os.path.isdir(record["folder"]):
        os.chdir(record["folder"])  # relative paths are those of where the sweep began
    words = [word for word in record["words"] if not word.startswith(("out=", "resume="))]
    launcher = [word for word in HydraConfig.get().overrides.hydra if word.startswith("hydra.launcher.")]
    return FollowUp("train", ["--multirun", *words, f"out={path}", "resume=true", *launcher])
