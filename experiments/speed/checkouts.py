"""Compare the speed of two checkouts of bua: python experiments/speed/checkouts.py OTHER [ROUNDS].

OTHER is the folder of another checkout, such as one of an earlier commit. The two are measured in turns, in
processes of their own; the fastest round of each counts. The rows are written to ``results.json``.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).parents[2]
#: What is measured, by name.
WHAT = {
    "step": "cross-entropy step of the Up-Down captioner (1000/1000/512, 36 x 2048, 9,488 words, 10 x 5 "
    "captions)",
    "beam": "beam search of the same captioner, 5 beams, 20 images, captions of 10 words",
    "store_write": "writing a store of 1,000 images, 10 to 100 regions x 2048",
    "store_read": "reading it, shuffled, in padded batches of 50 images",
}
VOCABULARY_SIZE = 9488


def fastest(function: Callable[[], Any], repeats: int) -> float:
    """Return the shortest time of a call, after one call to warm up."""
    function()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def names() -> dict[str, Any]:
    """Return what is measured of the checkout in the current folder, whatever its names are."""
    from bua.decode import BeamSearch
    from bua.store import FeatureStore, Regions, StoreWriter

    common = {"FeatureStore": FeatureStore, "Regions": Regions, "StoreWriter": StoreWriter}
    if Path("bua/structures").is_dir():
        from bua.inference.captioning import generate
        from bua.store import StoreMetadata
        from bua.structures.region_batch import RegionBatch

        search = BeamSearch(beam_size=5, max_length=10)
        return {
            **common,
            "RegionBatch": RegionBatch,
            "generate": generate,
            "metadata": StoreMetadata,
            "search": search,
        }
    # names before version 0.1
    from importlib import import_module

    return {
        **common,
        "RegionBatch": import_module("bua.models.regions").RegionBatch,
        "generate": import_module("bua.tasks.say").say,
        "metadata": import_module("bua.store").About,
        "search": BeamSearch(**{"width": 5, "max_words": 10}),
    }


def measure() -> dict[str, float]:
    """Measure the checkout in the current folder, and return seconds by name."""
    bua = names()
    from bua.models.captioners.updown import UpDownCaptioner

    torch.manual_seed(0)
    sizes = {"feature_size": 2048, "vocabulary_size": VOCABULARY_SIZE}
    model = UpDownCaptioner(**sizes, word_size=1000, hidden_size=1000, attention_size=512, dropout=0.5)
    optimizer = torch.optim.Adam(model.parameters(), 5e-4)
    words = torch.randint(4, VOCABULARY_SIZE, (10, 5, 11))

    def regions(count: int) -> Any:
        mask = torch.ones(count, 36, dtype=torch.bool)
        return bua["RegionBatch"](torch.rand(count, 36, 2048), mask, torch.rand(count, 36, 4))

    def step() -> None:
        optimizer.zero_grad()
        logits = model(ten, words[..., :-1]).flatten(0, -2)
        torch.nn.functional.cross_entropy(logits, words[..., 1:].flatten()).backward()
        optimizer.step()

    ten, twenty = regions(10), regions(20)
    seconds = {"step": fastest(step, 3)}
    model.eval()
    seconds["beam"] = fastest(lambda: bua["generate"]([model], [twenty], bua["search"]), 3)
    return {**seconds, **measure_store(bua)}


def measure_store(bua: dict[str, Any]) -> dict[str, float]:
    """Write a store, and read it with a warm cache."""
    rng = np.random.default_rng(0)
    images = []
    for n in range(1000):
        count = int(rng.integers(10, 101))
        features = rng.integers(0, 9, (count, 2048)).astype(np.float16)
        images.append((n, bua["Regions"](features, np.ones((count, 4), np.float32), (9, 9))))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f.h5"
        started = time.perf_counter()
        with bua["StoreWriter"](path, bua["metadata"]("speed", {}, "0")) as writer:
            writer.write(images)
            writer.pack(range(1000))
        written = time.perf_counter() - started
        store, order = bua["FeatureStore"](path), rng.permutation(1000).tolist()
        batches = [order[start : start + 50] for start in range(0, 1000, 50)]
        read = fastest(lambda: [store.padded(batch) for batch in batches], 9)
    return {"store_write": written, "store_read": read}


def main() -> None:
    """Measure two checkouts in turns, and write their times and ratios."""
    other, rounds = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 4
    times: dict[Path, list[dict[str, float]]] = {ROOT: [], other: []}
    for _ in range(rounds):
        for folder, taken in times.items():
            code = (
                f"import sys; sys.path[:0] = ['.', {str(Path(__file__).parent)!r}]; import checkouts, json; "
            )
            command = [sys.executable, "-c", code + "print(json.dumps(checkouts.measure()))"]
            result = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
            taken.append(json.loads(result.stdout))
    git = ["git", "-C", str(other), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()
    from run import write_group

    rows = []
    for name, what in WHAT.items():
        now, before = (min(one[name] for one in taken) for taken in times.values())
        value = f"{now / before:.2f} times the time ({now:.3f} s, {before:.3f} s)"
        rows.append({"what": f"{what}, compared with commit {commit}", "value": value, "target": ""})
        print(f"{rows[-1]['what']}: {value}", flush=True)
    write_group("checkouts", rows)


if __name__ == "__main__":
    main()
