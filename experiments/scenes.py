"""The data of the studies on synthetic scenes: python -m experiments.scenes STUDY [train=N].

The folder STUDY gets images, annotations, and features of one detector for regions and for the cells of a
grid. The number of images of each split can be given.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

#: Number of images of each split.
IMAGES = {"train": 2000, "val": 150, "test": 300, "novel": 300}
#: Number of rows, and of columns, of the grid.
GRID_SIZE = 6


def bua(*arguments: str) -> None:
    """Run a command."""
    subprocess.run([sys.executable, "-m", "bua", *arguments], check=True, stdout=subprocess.DEVNULL)


def prepare(study: Path, images: Mapping[str, int] = IMAGES) -> None:
    """Draw images, and extract features of their regions and of grid cells with one detector.

    Args:
        study: Folder of the study; what it already holds is not made again.
        images: Number of images of each split.

    Raises:
        SystemExit: If the directory holds another number of images.
    """
    study.mkdir(parents=True, exist_ok=True)
    record = study / "images.json"
    if record.exists() and (existing := json.loads(record.read_text())) != images:
        raise SystemExit(f"{study}: holds the images {existing}, not {dict(images)}; give another STUDY")
    record.write_text(json.dumps(dict(images)))
    scenes = study / "scenes"
    if not (scenes / "scenes.json").exists():
        bua("scenes", f"out={scenes}", "seed=11", *(f"{split}={n}" for split, n in images.items()))
    if not (study / "regions.h5").exists():
        bua("extract", f"images={scenes}/images", f"out={study}/regions.h5", "dtype=float32")
    if not (study / "grid.h5").exists():
        write_grid_boxes(scenes, study / "cells.json")
        command = [f"images={scenes}/images", f"out={study}/grid.h5", "dtype=float32"]
        bua("extract", *command, f"boxes={study}/cells.json")


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


if __name__ == "__main__":
    given = dict(word.split("=", 1) for word in sys.argv[2:])
    prepare(Path(sys.argv[1]).resolve(), IMAGES | {split: int(number) for split, number in given.items()})
