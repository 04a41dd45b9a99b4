"""The captioning study on synthetic scenes: python experiments/captioning/run.py OUT [JOBS].

Draws pictures, looks at them by region and by grid cell with one detector, trains every captioner by
cross-entropy and then on rewards, with three seeds, and writes results.json here. What is there already
in OUT is not done again. JOBS trainings run at a time, one thread each.
"""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MODELS = {
    "updown": ["model=updown_small"],
    "transformer": ["model=transformer_small", "optimizer.lr=1e-3"],
    "mean_pooled": ["model=mean_pooled_small"],
}
FEATURES = ("regions", "grid")
#: By cross-entropy, and from there on rewards; regions also by cross-entropy for as many epochs in all.
OBJECTIVES = ("cross_entropy", "self_critical")
SEEDS = (0, 1, 2)
PICTURES = {"train": 2000, "val": 150, "test": 300, "novel": 300}
#: Cells of the grid, each way.
CELLS = 6
#: Epochs by cross-entropy, and more of them.
EPOCHS, MORE = 8, 5
#: Learning rate on rewards.
RATES = {"updown": 2e-4, "transformer": 1e-4, "mean_pooled": 2e-4}


def bua(*arguments: str) -> None:
    """Run a command."""
    subprocess.run([sys.executable, "-m", "bua", *arguments], check=True, stdout=subprocess.DEVNULL)


def prepare(out: Path) -> None:
    """Draw the pictures and look at them twice."""
    scenes = out / "scenes"
    if not (scenes / "captions_test.json").exists():
        bua("scenes", f"out={scenes}", "seed=11", *(f"{split}={n}" for split, n in PICTURES.items()))
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


def job(out: Path, model: str, features: str, seed: int, objectives: tuple[str, ...]) -> list[dict[str, Any]]:
    """Train one captioner in several ways, one after the other, and score it."""
    import torch

    torch.set_num_threads(1)
    rows = []
    for objective in objectives:
        run = out / "runs" / f"{model}-{features}-{seed}-{objective}"
        done = run / "scores.json"
        if not done.exists():
            started = time.monotonic()
            train(out, run, model, features, seed, objective)
            row = {"model": model, "features": features, "seed": seed, "objective": objective}
            row |= {"minutes": (time.monotonic() - started) / 60, **scores(out, run, features)}
            done.write_text(json.dumps(row))
        rows.append(json.loads(done.read_text()))
        print(json.dumps(rows[-1]), flush=True)
    return rows


def train(out: Path, run: Path, model: str, features: str, seed: int, objective: str) -> None:
    """Train by cross-entropy, or go on from there on rewards."""
    shutil.rmtree(run, ignore_errors=True)
    command = ["train", "experiment=caption_scenes", f"scenes={out}/scenes", f"features={out}/{features}.h5"]
    command += [f"out={run}", f"seed={seed}", "trainer.accelerator=cpu", *MODELS[model]]
    command += [f"trainer.max_epochs={EPOCHS + (MORE if objective == 'longer' else 0)}"]
    if objective == "self_critical":
        start = run.with_name(run.name.replace("self_critical", "cross_entropy"))
        command += ["objective=self_critical", f"start={start}", "scheduler=constant"]
        command += [f"optimizer.lr={RATES[model]}", f"trainer.max_epochs={MORE}"]
    bua(*command)


def scores(out: Path, run: Path, features: str) -> dict[str, Any]:
    """Describe the pictures of both test splits and score it."""
    from bua.cli.load import load
    from bua.data.caption_files import read_captions
    from bua.metrics.caption import caption_scores
    from bua.metrics.endings import bad_endings
    from bua.metrics.grounding import grounding
    from bua.store import FeatureStore
    from bua.tasks.grounding import looks, read_groundings

    trained, store = load(run), FeatureStore(out / f"{features}.h5")
    found: dict[str, Any] = {}
    for split in ("test", "novel"):
        file = read_captions(out / f"scenes/captions_{split}.json")
        ids = list(file.captions)
        said = {}
        for start in range(0, len(ids), 50):
            part = ids[start : start + 50]
            best = [one[0].text for one in trained.caption_store(store, part)]
            said |= dict(zip(part, best, strict=True))
        metrics = ("bleu", "rouge", "cider")
        numbers = caption_scores(said, file.captions, metrics=metrics, tokenizer="python")
        named = read_groundings(out / f"scenes/groundings_{split}.json")
        looked = grounding(looks(trained, store, file, named))
        every = {
            **numbers,
            "bad_endings": bad_endings(said.values()),
            "words": sum(len(text.split()) for text in said.values()) / len(said),
            "repeated": sum(_repeats(text.split()) for text in said.values()) / len(said),
            "grounded": looked.share,
            "chance": looked.chance,
        }
        found[split] = {name: round(value, 5) for name, value in every.items()}
    return found


def _repeats(words: list[str]) -> bool:
    """Say whether three words in a row come twice."""
    grams = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(grams)) < len(grams)


def main(out: Path, jobs: int) -> None:
    """Run the whole study."""
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    prepare(out)
    os.environ["OMP_NUM_THREADS"] = "1"
    every = [(out, m, f, s, OBJECTIVES) for s in SEEDS for m in MODELS for f in FEATURES]
    every += [(out, m, "regions", s, ("longer",)) for s in SEEDS for m in MODELS]
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=1) as pool:
        rows = [row for rows in pool.starmap(job, every, chunksize=1) for row in rows]
    results = {
        "command": f"python experiments/captioning/run.py OUT {jobs}",
        "pictures": PICTURES,
        "seeds": len(SEEDS),
        "minutes": (time.monotonic() - started) / 60,
        "runs": rows,
    }
    (Path(__file__).parent / "results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
