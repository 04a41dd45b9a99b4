"""Measure speed and memory: python experiments/speed/run.py [DATA] [GROUP...].

DATA is a folder of real images; without it, the measurements that need them are skipped. Each group is
written to ``results.json`` in this folder when it is done, so that one group can be measured again. The
groups gpu_captioning and gpu_others need a GPU and are written to ``results_gpu.json``.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from busy import measure_busy
from captioning import measure_captioning
from compiled import measure_compiled
from extraction import measure_memory, measure_share
from gpu import measure_gpu
from importing import measure_import
from timing import Row, median_seconds
from torch import Tensor
from vqa_data import measure_annotations, measure_loading, measure_validation
from vqa_metric import measure_score
from vqa_step import measure_step

from bua.detectors.selection import Selection
from bua.store import FeatureStore, Regions, StoreMetadata, StoreWriter


def measure_help() -> Row:
    """Time ``bua --help`` as a process."""
    command = [sys.executable, "-m", "bua", "--help"]
    seconds = median_seconds(lambda: subprocess.run(command, check=True, capture_output=True), 7)
    return {"what": "`bua --help`", "value": f"{seconds:.2f} s", "target": "0.5 s"}


def measure_store() -> Row:
    """Read shuffled batches of 10 to 100 regions x 2048 in float16, with a warm cache."""
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

        speed = 1500 / median_seconds(read, 9)
    return {
        "what": "reading shuffled, padded batches of 50 images from a store in the page cache, 10 to 100 "
        "regions x 2048",
        "value": f"{speed:,.0f} images/s",
        "target": "20,000 images/s",
    }


def measure_selection() -> Row:
    """Select among 300 boxes x 1601 classes, compared with one suppression per class."""
    from torchvision.ops import nms

    torch.manual_seed(0)
    corner = torch.rand(300, 2) * 500
    boxes = torch.cat([corner, corner + 20 + torch.rand(300, 2) * 200], 1)
    logits = torch.randn(300, 1601)
    logits[torch.arange(300), torch.randint(1, 1601, (300,))] += 9
    probabilities = logits.softmax(1)
    select = Selection(min_regions=10, max_regions=100, threshold=0.2, nms_iou=0.3, pixel=1)

    def loop() -> Tensor:
        scores = torch.zeros(300)
        for c in range(1, 1601):
            kept = nms(boxes, probabilities[:, c], 0.3)
            scores[kept] = torch.maximum(scores[kept], probabilities[kept, c])
        return scores

    ratio = median_seconds(loop, 5) / median_seconds(lambda: select(boxes, probabilities), 9)
    return {
        "what": "region selection, 300 boxes x 1601 classes, compared with a loop of `torchvision.ops.nms` "
        "over the classes",
        "value": f"{ratio:.0f} times as fast",
        "target": "50 times",
    }


def make_groups(data: Path | None) -> dict[str, Callable[[], list[Row]]]:
    """Return the groups of measurements by name; ratios are taken within a group."""
    extraction = [measure_share, measure_memory] if data else []
    return {
        "store": lambda: [measure_help(), measure_store(), measure_selection()],
        "captioning": measure_captioning,
        "busy": measure_busy,
        "compiled": lambda: measure_compiled("cpu"),
        "vqa": lambda: [measure_step(), measure_loading(), measure_validation()],
        "vqa_files": lambda: [measure_score(), measure_annotations()],
        "regions": lambda: [measure_import(), *(measure(data) for measure in extraction)],
        "gpu_captioning": lambda: measure_compiled("cuda"),
        "gpu_others": measure_gpu,
    }


def main() -> None:
    """Measure the groups that are named, or all of them; the rows of other groups stay."""
    words = sys.argv[1:]
    data = next((Path(word) for word in words if word not in make_groups(None)), None)
    groups = make_groups(data)
    available = [name for name in groups if not name.startswith("gpu") or torch.cuda.is_available()]
    for name in [word for word in words if word in groups] or available:
        rows = groups[name]()
        write_group(name, rows)
        for row in rows:
            print(f"{row['what']}: {row['value']} (target: {row['target']})", flush=True)


def write_group(name: str, rows: list[Row]) -> None:
    """Write the rows of a group, next to those of the other groups."""
    path = Path(__file__).parent / ("results_gpu.json" if name.startswith("gpu") else "results.json")
    machine = f"{os.cpu_count()} cores ({platform.machine()}), torch {torch.__version__}"
    if name.startswith("gpu"):
        machine = f"one {torch.cuda.get_device_name()}, {machine}"
    measurements = json.loads(path.read_text())["measurements"] if path.exists() else []
    measurements = [row for row in measurements if row["group"] != name]
    measurements += [{"group": name, **row} for row in rows]
    order = [*make_groups(None), "checkouts"]  # the last is measured by checkouts.py
    measurements.sort(key=lambda row: order.index(row["group"]))
    path.write_text(json.dumps({"machine": machine, "measurements": measurements}, indent=1) + "\n")


if __name__ == "__main__":
    main()
