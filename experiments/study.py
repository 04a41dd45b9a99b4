"""What the studies on synthetic scenes share.

Pictures, seen by region and by grid cell, and trainings side by side.
"""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]

FEATURES = ("regions", "grid")
SEEDS = (0, 1, 2)
PICTURES = {"train": 2000, "val": 150, "test": 300, "novel": 300}
#: Splits that are measured on.
TESTS = ("test", "novel")
#: Cells of the grid, each way.
CELLS = 6


def bua(*arguments: str) -> None:
    """Run a command."""
    subprocess.run([sys.executable, "-m", "bua", *arguments], check=True, stdout=subprocess.DEVNULL)


def prepare(out: Path, pictures: Mapping[str, int] = PICTURES) -> None:
    """Draw so many pictures of each split and look at them twice, with one detector.

    Raises:
        SystemExit: there are others already, and what was trained on them.
    """
    out.mkdir(parents=True, exist_ok=True)
    drawn = out / "pictures.json"
    if drawn.exists() and (there := json.loads(drawn.read_text())) != pictures:
        raise SystemExit(f"{out}: its pictures are {there}, not {dict(pictures)}; give another OUT")
    drawn.write_text(json.dumps(dict(pictures)))
    scenes = out / "scenes"
    if not (scenes / "scenes.json").exists():
        bua("scenes", f"out={scenes}", "seed=11", *(f"{split}={n}" for split, n in pictures.items()))
    if not (out / "regions.h5").exists():
        bua("extract", f"images={scenes}/images", f"out={out}/regions.h5", "dtype=float32")
    if not (out / "grid.h5").exists():
        cells(scenes, out / "cells.json")
        command = [f"images={scenes}/images", f"out={out}/grid.h5", "dtype=float32"]
        bua("extract", *command, f"boxes={out}/cells.json")


def cells(scenes: Path, path: Path) -> None:
    """Write the boxes of a grid over every picture."""
    entries = []
    for split in PICTURES:
        for image in json.loads((scenes / f"captions_{split}.json").read_text())["images"]:
            width, height = image["width"] / CELLS, image["height"] / CELLS
            boxes = [
                [x * width, y * height, (x + 1) * width, (y + 1) * height]
                for y in range(CELLS)
                for x in range(CELLS)
            ]
            entries.append({"image_id": image["id"], "boxes": boxes})
    path.write_text(json.dumps(entries))


def train_and_score(run: Path, about: Row, command: Iterable[str], scores: Callable[[Path], Row]) -> None:
    """Train into a run directory and score it; what is there already is not done again."""
    took, done = run / "minutes.json", run / "scores.json"
    if not took.exists():
        shutil.rmtree(run, ignore_errors=True)
        started = time.monotonic()
        bua("train", f"out={run}", "trainer.accelerator=cpu", *command)
        took.write_text(json.dumps((time.monotonic() - started) / 60))
    if not done.exists():
        done.write_text(json.dumps({**about, "minutes": json.loads(took.read_text()), **scores(run)}))
        print(done.read_text(), flush=True)


def in_parallel(job: Callable[..., None], every: Sequence[tuple[Any, ...]], processes: int) -> None:
    """Run jobs, so many at a time, one thread each."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=1) as pool:
        pool.starmap(job, every, chunksize=1)


def run_study(
    out: Path,
    folder: Path,
    job: Callable[..., None],
    every: Sequence[tuple[Any, ...]],
    runs: Sequence[Path],
    jobs: int,
    pictures: Mapping[str, int] = PICTURES,
    more: str = "",
) -> None:
    """Run what is not done of a study and write its results from those of its runs that are finished.

    Args:
        out: where the pictures and runs are.
        folder: of the study; its name is that of the study.
        job: trains and scores.
        every: arguments of all jobs.
        runs: the run directories that they fill.
        jobs: so many at a time.
        pictures: so many of each split.
        more: what else the command has, and the name of the file of results: ``results.json`` by default.
    """
    new, started = not (out / "scenes").exists(), time.monotonic()
    prepare(out, pictures)
    complete = False
    try:
        in_parallel(job, every, jobs)
        complete = True
    finally:
        rows = [
            json.loads((run / "scores.json").read_text()) for run in runs if (run / "scores.json").exists()
        ]
        took = (time.monotonic() - started) / 60 if new and complete else None
        command = " ".join(f"python -m experiments.{folder.name}.run OUT {jobs} {more}".split())
        about = {
            "command": command,
            "pictures": dict(pictures),
            "seeds": len(SEEDS),
            "jobs": jobs,
            "minutes": took,
        }
        (folder / f"{more or 'results'}.json").write_text(
            json.dumps({**about, "runs": rows}, indent=1) + "\n"
        )
