"""Measure the import of region features into a store: python experiments/speed/importing.py."""

import base64
import csv
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from timing import Row

from bua.store.formats.import_store import ImportOptions, import_store
from bua.store.formats.source import Source

#: Columns of LXMERT's TSV, with the types of those in base64.
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
REPEATS = 25


def write_rows(path: Path, count: int = 10, regions: int = 36, feature_size: int = 2048) -> None:
    """Write rows like those of LXMERT's file of 36 regions per image, about 400 kB each."""
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
                "features": np.maximum(rng.standard_normal((regions, feature_size)), 0),
            }
            plain = {"img_id": str(image), "img_h": "480", "img_w": "640", "num_boxes": str(regions)}
            fields = {
                name: base64.b64encode(arrays[name].astype(kind).tobytes()).decode() if kind else plain[name]
                for name, kind in COLUMNS.items()
            }
            file.write("\t".join(fields.values()) + "\n")


def decode_only(path: Path) -> list[list[np.ndarray]]:
    """Decode every base64 column, and do nothing with it."""
    csv.field_size_limit(sys.maxsize)
    with open(path, newline="") as file:
        reader = csv.DictReader(file, list(COLUMNS), delimiter="\t")
        return [
            [np.frombuffer(base64.b64decode(row[name]), kind) for name, kind in COLUMNS.items() if kind]
            for row in reader
        ]


def seconds(function: Callable[[], object]) -> float:
    """Return the time of one call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def measure_import() -> Row:
    """Import ten rows with syncing to disk, compared with a loop that only decodes; in turns, warm."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.tsv"
        write_rows(path)
        ratios = []
        for n in range(REPEATS):
            out = Path(folder) / f"{n}.h5"
            decoding = seconds(lambda: decode_only(path))
            importing = seconds(
                lambda out=out: import_store("lxmert_tsv", Source(path), out, ImportOptions(), print)
            )
            out.unlink()
            ratios.append(importing / decoding)
    return {
        "what": "importing 10 rows of 36 x 2048 in LXMERT's format (4 MB), synced to disk and verified, "
        "compared with a loop that only decodes base64",
        "value": f"{statistics.median(ratios[1:]):.2f} times the time",
        "target": "at most 1.5 times",
    }


if __name__ == "__main__":
    print(measure_import())
