"""What the studies on synthetic scenes share: images, features of regions and grids, parallel training."""

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

#: Numbers of a trained model by name, as plain values.
Row = dict[str, Any]

#: Features that models are trained on, both of one detector.
FEATURES = ("regions", "grid")
SEEDS = (0, 1, 2)
#: Number of images of each split.
IMAGES = {"train": 2000, "val": 150, "test": 300, "novel": 300}
#: Splits on which models are scored.
TEST_SPLITS = ("test", "novel")
#: Number of rows, and of columns, of the grid.
GRID_SIZE = 6


def bua(*arguments: str) -> None:
    """Run a command."""
    subprocess.run([sys.executable, "-m", "bua", *arguments], check=True, stdout=subprocess.DEVNULL)


def prepare(out: Path, images: Mapping[str, int] = IMAGES) -> None:
    """Draw images, and extract features of their regions and of grid cells with one detector.

    Args:
        out: Working directory; what it already holds is not made again.
        images: Number of images of each split.

    Raises:
        SystemExit: If the directory holds another number of images.
    """
    out.mkdir(parents=True, exist_ok=True)
    record = out / "images.json"
    if record.exists() and (existing := json.loads(record.read_text())) != images:
        raise SystemExit(f"{out}: holds the images {existing}, not {dict(images)}; give another OUT")
    record.write_text(json.dumps(dict(images)))
    scenes = out / "scenes"
    if not (scenes / "scenes.json").exists():
        bua("scenes", f"out={scenes}", "seed=11", *(f"{split}={n}" for split, n in images.items()))
    if not (out / "regions.h5").exists():
        bua("extract", f"images={scenes}/images", f"out={out}/regions.h5", "dtype=float32")
    if not (out / "grid.h5").exists():
        write_grid_boxes(scenes, out / "cells.json")
        command = [f"images={scenes}/images", f"out={out}/grid.h5", "dtype=float32"]
        bua("extract", *command, f"boxes={out}/cells.json")


def write_grid_boxes(scenes: Path, path: Path) -> None:
    """Write the boxes of the grid cells of every image."""
    entries = []
    for split in IMAGES:
        for image in json.loads((scenes / f"captions_{split}.json").read_text())["images"]:
            width, height = image["width"] / GRID_SIZE, image["height"] / GRID_SIZE
            boxes = [
                [x * width, y * height, (x + 1) * width, (y + 1) * height]
                for y in range(GRID_SIZE)
                for x in range(GRID_SIZE)
            ]
            entries.append({"image_id": image["id"], "boxes": boxes})
    path.write_text(json.dumps(entries))


def train_and_score(run: Path, labels: Row, overrides: Iterable[str], score: Callable[[Path], Row]) -> None:
    """Train a model and score it; steps that are already done are skipped.

    Args:
        run: Run directory.
        labels: What the run is, such as model and seed, for its row of results.
        overrides: Overrides of ``bua train``.
        score: Scores a run.
    """
    minutes, scores = run / "minutes.json", run / "scores.json"
    if not minutes.exists():
        shutil.rmtree(run, ignore_errors=True)
        started = time.monotonic()
        bua("train", f"out={run}", "trainer.accelerator=cpu", *overrides)
        minutes.write_text(json.dumps((time.monotonic() - started) / 60))
    if not scores.exists():
        row = {**labels, "minutes": json.loads(minutes.read_text()), **score(run)}
        scores.write_text(json.dumps(row))
        print(scores.read_text(), flush=True)


def in_parallel(job: Callable[..., None], arguments: Sequence[tuple[Any, ...]], processes: int) -> None:
    """Run a job on each of ``arguments`` in several processes of one thread each."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=1) as pool:
        pool.starmap(job, arguments, chunksize=1)


def run_study(
    out: Path,
    folder: Path,
    job: Callable[..., None],
    arguments: Sequence[tuple[Any, ...]],
    runs: Sequence[Path],
    processes: int,
    images: Mapping[str, int] = IMAGES,
    variant: str = "",
) -> None:
    """Run the jobs of a study that are not done yet, and write the results of all finished runs.

    Args:
        out: Working directory of images and runs.
        folder: Folder of the study, whose name is that of the study.
        job: Trains and scores models.
        arguments: Arguments of every job.
        runs: Run directories of the jobs.
        processes: Number of jobs at a time.
        images: Number of images of each split.
        variant: Last word of the command and name of the file of results. Default: ``results.json``.
    """
    is_new, started = not (out / "scenes").exists(), time.monotonic()
    prepare(out, images)
    complete = False
    try:
        in_parallel(job, arguments, processes)
        complete = True
    finally:
        scores = [run / "scores.json" for run in runs]
        rows = [json.loads(path.read_text()) for path in scores if path.exists()]
        command = f"python -m experiments.{folder.name}.run OUT {processes} {variant}".rstrip()
        results = {
            "command": command,
            "images": dict(images),
            "seeds": len(SEEDS),
            "jobs": processes,
            "minutes": (time.monotonic() - started) / 60 if is_new and complete else None,
            "runs": rows,
        }
        path = folder / f"{variant or 'results'}.json"
        path.write_text(json.dumps(results, indent=1) + "\n")
