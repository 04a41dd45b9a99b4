"""Measure what the design promises: python experiments/speed/run.py [DATA] [GROUP...].

DATA is a folder of real photographs and features; what needs them stays unmeasured without it. Groups are
measured one by one and written to results.json here as they come, so that one can be measured again alone;
the groups gpu_captioning and gpu_others, which need a GPU, go to results_gpu.json.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from answering import training_step
from busy import busy
from captioning import captioning
from compiled import compiling
from extraction import extraction_memory, extraction_share
from gpu import others
from importing import import_speed
from questions import annotations, loading, validating
from torch import Tensor
from vqa_metric import score_seconds

from bua.detectors.selection import Selection
from bua.store import FeatureStore, Regions, StoreMetadata, StoreWriter

Row = dict[str, str]


def seconds(function: Callable[[], Any], times: int) -> float:
    """Return the median time of a call, after one that does not count."""
    function()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def help_seconds() -> dict[str, str]:
    """Time ``bua --help`` as a process."""
    command = [sys.executable, "-m", "bua", "--help"]
    took = seconds(lambda: subprocess.run(command, check=True, capture_output=True), 7)
    return {"what": "`bua --help`", "value": f"{took:.2f} s", "wanted": "0.5 s"}


def store_reading() -> dict[str, str]:
    """Read shuffled batches of 10 to 100 regions x 2048 float16, warm."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f.h5"
        with StoreWriter(path, StoreMetadata("speed", {}, "0")) as writer:
            images = []
            for n in range(1500):
                count = int(rng.integers(10, 101))
                features = rng.integers(0, 9, (count, 2048)).astype(np.float16)
                images.append((n, Regions(features, np.ones((count, 4), np.float32), (9, 9))))
            writer.write(images)
            writer.pack(range(1500))
        store, order = FeatureStore(path), rng.permutation(1500).tolist()

        def read() -> None:
            for start in range(0, 1500, 50):
                store.padded(order[start : start + 50])

        speed = 1500 / seconds(read, 9)
    return {
        "what": "reading the store, shuffled, padded batches of 50, 10 to 100 regions x 2048, warm",
        "value": f"{speed:,.0f} images/s",
        "wanted": "20,000 images/s",
    }


def selection() -> dict[str, str]:
    """Select among 300 boxes x 1601 classes, against one suppression a class."""
    from torchvision.ops import nms

    torch.manual_seed(0)
    corner = torch.rand(300, 2) * 500
    boxes = torch.cat([corner, corner + 20 + torch.rand(300, 2) * 200], 1)
    logits = torch.randn(300, 1601)
    logits[torch.arange(300), torch.randint(1, 1601, (300,))] += 9
    probabilities = logits.softmax(1)
    rule = Selection(min_regions=10, max_regions=100, threshold=0.2, nms_iou=0.3, pixel=1)

    def loop() -> Tensor:
        worth = torch.zeros(300)
        for c in range(1, 1601):
            kept = nms(boxes, probabilities[:, c], 0.3)
            worth[kept] = torch.maximum(worth[kept], probabilities[kept, c])
        return worth

    ratio = seconds(loop, 5) / seconds(lambda: rule(boxes, probabilities), 9)
    return {
        "what": "region selection, 300 x 1601, against a loop of `torchvision.ops.nms` over the classes",
        "value": f"{ratio:.0f} times as fast",
        "wanted": "50 times",
    }


def groups(data: Path | None) -> dict[str, Callable[[], list[Row]]]:
    """Return what is measured in one go, by name; each row compares within it."""
    photographs = [extraction_share, extraction_memory] if data else []
    return {
        "store": lambda: [help_seconds(), store_reading(), selection()],
        "captioning": lambda: captioning(seconds),
        "busy": busy,
        "compiled": lambda: compiling("cpu"),
        "answering": lambda: [training_step(), loading(), validating()],
        "questions": lambda: [score_seconds(), annotations()],
        "regions": lambda: [import_speed(), *(measure(data) for measure in photographs)],
        "gpu_captioning": lambda: compiling("cuda"),
        "gpu_others": lambda: others(seconds),
    }


def main() -> None:
    """Measure everything, or the groups that are named; the rows of others stay."""
    words = sys.argv[1:]
    data = next((Path(word) for word in words if word not in groups(None)), None)
    every = groups(data)
    usual = [name for name in every if not name.startswith("gpu") or torch.cuda.is_available()]
    for name in [word for word in words if word in every] or usual:
        rows = every[name]()
        keep(name, list(every), rows)
        for row in rows:
            print(f"{row['what']}: {row['value']} (wanted: {row['wanted']})", flush=True)


def keep(name: str, order: list[str], rows: list[Row]) -> None:
    """Write the rows of a group beside those of the others."""
    path = Path(__file__).parent / ("results_gpu.json" if name.startswith("gpu") else "results.json")
    machine = f"{os.cpu_count()} cores ({platform.machine()}), torch {torch.__version__}"
    if name.startswith("gpu"):
        machine = f"one {torch.cuda.get_device_name()}, {machine}"
    before = json.loads(path.read_text())["measurements"] if path.exists() else []
    every = [row for row in before if row["group"] != name] + [{"group": name, **row} for row in rows]
    every.sort(key=lambda row: order.index(row["group"]))
    path.write_text(json.dumps({"machine": machine, "measurements": every}, indent=1) + "\n")


if __name__ == "__main__":
    main()
