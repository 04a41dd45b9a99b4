"""Measure how fast ten rows of region features come into a store: python experiments/speed/importing.py."""

import base64
import csv
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bua.store.formats.import_store import ImportOptions, import_store
from bua.store.formats.source import Source

#: The columns of LXMERT's TSV, and the types of those in base64.
COLUMNS = {
    "img_id": None,
    "img_h": None,
    "img_w": None,
    "objects_id": "<i8",
    "objects_conf": "<f4",
    "attrs_id": "<i8",
    "attrs_conf": "<f4",
    "num_boxes": None,
    "boxes": "<f4",
    "features": "<f4",
}
TIMES = 25


def rows(path: Path, count: int = 10, regions: int = 36, width: int = 2048) -> None:
    """Write rows like those of LXMERT's file of 36 regions, about 400 kB each."""
    rng = np.random.default_rng(0)
    with open(path, "w", newline="") as file:
        for image in range(1, count + 1):
            corners = np.sort(rng.random((regions, 2, 2), dtype=np.float32), 1).reshape(regions, 4)
            arrays = {
                "objects_id": rng.integers(0, 1600, regions),
                "objects_conf": rng.random(regions),
                "attrs_id": rng.integers(0, 400, regions),
                "attrs_conf": rng.random(regions),
                "boxes": corners * np.array([640, 480, 640, 480]),
                "features": np.maximum(rng.standard_normal((regions, width)), 0),
            }
            plain = {"img_id": str(image), "img_h": "480", "img_w": "640", "num_boxes": str(regions)}
            fields = {
                name: base64.b64encode(arrays[name].astype(kind).tobytes()).decode() if kind else plain[name]
                for name, kind in COLUMNS.items()
            }
            file.write("\t".join(fields.values()) + "\n")


def bare_loop(path: Path) -> list[list[np.ndarray]]:
    """Decode every base64 column and do nothing with it."""
    csv.field_size_limit(sys.maxsize)
    with open(path, newline="") as file:
        reader = csv.DictReader(file, list(COLUMNS), delimiter="\t")
        return [
            [np.frombuffer(base64.b64decode(row[name]), kind) for name, kind in COLUMNS.items() if kind]
            for row in reader
        ]


def took(function: Callable[[], object]) -> float:
    """Return the seconds of one call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def import_speed() -> dict[str, str]:
    """Import ten rows, syncing to disk as always, against a loop that only decodes; in turns, warm."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.tsv"
        rows(path)
        ratios = []
        for n in range(TIMES):
            out = Path(folder) / f"{n}.h5"
            bare = took(lambda: bare_loop(path))
            whole = took(
                lambda out=out: import_store("lxmert_tsv", Source(path), out, ImportOptions(), print)
            )
            out.unlink()
            ratios.append(whole / bare)
    return {
        "what": "importing 10 rows of 36 x 2048 in LXMERT's format (4 MB), synced to disk and verified, "
        "against a loop that only decodes their base64",
        "value": f"{statistics.median(ratios[1:]):.2f} times its time",
        "wanted": "1.5 times",
    }


if __name__ == "__main__":
    print(import_speed())
