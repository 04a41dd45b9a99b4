"""Measure training on a busy machine, and the effect of the thread settings of ``bua``."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import Row

from bua.cli.main import SPIN_COUNT

#: Default of GNU OpenMP.
DEFAULT_SPIN_COUNT = "300000"
STEPS, REPEATS = 40, 3


def measure_busy() -> list[Row]:
    """Time steps of the quickstart captioner, alone and next to as many busy processes as there are cores."""
    with tempfile.TemporaryDirectory() as folder:
        scenes = Path(folder) / "scenes"
        _bua({}, "scenes", f"out={scenes}", "train=200", "val=4", "test=4", "novel=4")
        _bua({}, "extract", f"images={scenes}/images", f"out={scenes}/regions.h5")
        return [_measure(scenes, 0), _measure(scenes, os.cpu_count() or 1)]


def _measure(scenes: Path, num_others: int) -> Row:
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in range(num_others)]
    try:
        seconds = {count: _step_seconds(scenes, count) for count in (DEFAULT_SPIN_COUNT, SPIN_COUNT)}
    finally:
        for process in others:
            process.kill()
            process.wait()
    where = f"next to {num_others} busy processes" if num_others else "on an idle machine"
    return {
        "what": f"{STEPS} steps of the quickstart captioner {where} with the thread settings of `bua`, "
        "compared with the defaults of OpenMP",
        "value": f"{seconds[DEFAULT_SPIN_COUNT] / seconds[SPIN_COUNT]:.1f} times as fast",
        "target": "",
    }


def _step_seconds(scenes: Path, spin_count: str) -> float:
    """Return the time of ``STEPS`` steps: of a training with one more step, minus one of a single step."""
    long, short = (
        statistics.median(_training_seconds(scenes, spin_count, steps) for _ in range(REPEATS))
        for steps in (STEPS + 1, 1)
    )
    return long - short


def _training_seconds(scenes: Path, spin_count: str, steps: int) -> float:
    """Return the time of a training, from the start of the process to its end."""
    started = time.perf_counter()
    out = tempfile.mkdtemp(dir=scenes)
    words = [f"scenes={scenes}", f"out={out}", f"trainer.max_steps={steps}"]
    words += ["experiment=caption_scenes", "trainer.limit_val_batches=0", "trainer.accelerator=cpu"]
    _bua({"GOMP_SPINCOUNT": spin_count}, "train", *words, "monitor=train/loss")
    return time.perf_counter() - started


def _bua(environment: dict[str, str], *words: str) -> None:
    """Run a command with as many threads as torch uses by default."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-m", "bua", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=inherited | environment)
