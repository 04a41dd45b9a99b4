"""Measure training on a machine with other work, and what bua does about threads that wait."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bua.cli import SPIN_COUNT

Row = dict[str, str]
#: What GNU OpenMP does where nothing is said.
USUAL = "300000"
STEPS, REPEATS = 40, 3


def busy() -> list[Row]:
    """Time some steps of the quickstart's captioner, alone and beside as many busy processes as cores."""
    with tempfile.TemporaryDirectory() as folder:
        scenes = Path(folder) / "scenes"
        _bua({}, "scenes", f"out={scenes}", "train=200", "val=4", "test=4", "novel=4")
        _bua({}, "extract", f"images={scenes}/images", f"out={scenes}/regions.h5")
        return [_row(scenes, 0), _row(scenes, os.cpu_count() or 1)]


def _row(scenes: Path, others: int) -> Row:
    waste = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(others)]
    try:
        took = {count: _steps(scenes, count) for count in (USUAL, SPIN_COUNT)}
    finally:
        for process in waste:
            process.kill()
            process.wait()
    beside = f"beside {others} busy processes" if others else "alone"
    return {
        "what": f"{STEPS} steps of the quickstart's captioner {beside}, started by `bua`, against threads of "
        "OpenMP that wait as they do by themselves",
        "value": f"{took[USUAL] / took[SPIN_COUNT]:.1f} times as fast",
        "wanted": "",
    }


def _steps(scenes: Path, spin_count: str) -> float:
    """Return the seconds of some steps: of a training of as many more than one, less those of one step."""
    long, short = (
        statistics.median(_training(scenes, spin_count, steps) for _ in range(REPEATS))
        for steps in (STEPS + 1, 1)
    )
    return long - short


def _training(scenes: Path, spin_count: str, steps: int) -> float:
    """Return the seconds of a training, from the start of the process to its end."""
    started = time.perf_counter()
    out = tempfile.mkdtemp(dir=scenes)
    words = [f"scenes={scenes}", f"out={out}", f"trainer.max_steps={steps}"]
    words += ["experiment=caption_scenes", "trainer.limit_val_batches=0", "trainer.accelerator=cpu"]
    _bua({"GOMP_SPINCOUNT": spin_count}, "train", *words, "monitor=train/loss")
    return time.perf_counter() - started


def _bua(environment: dict[str, str], *words: str) -> None:
    """Run a command with as many threads as torch takes by itself."""
    usual = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-m", "bua", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=usual | environment)
