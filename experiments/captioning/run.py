"""The captioning study on synthetic scenes: python -m experiments.captioning.run OUT [JOBS] [more].

Every captioner is trained by cross-entropy and then on rewards, on regions and on grid cells, with three
seeds; results.json is written here, or with more pictures to train on more.json. What is there already in
OUT is not done again. JOBS trainings run at a time, one thread each.
"""

import csv
import sys
from pathlib import Path

from experiments.study import FEATURES, PICTURES, SEEDS, TESTS, Row, run_study, train_and_score

#: Each captioner, at the size of a laptop, with the best of the rates that were tried (rates.py).
RATES = {
    "updown": 2e-3,
    "updown_caffe": 2e-3,
    "att2in": 2e-3,
    "soft_attention": 4e-3,
    "transformer": 2e-3,
    "mean_pooled": 2e-3,
}
#: Matrix products of all trainings; captions are searched in float32.
PRECISION = "trainer.precision=bf16-mixed"
#: By cross-entropy, and from there on rewards; some, on regions, by cross-entropy for as many epochs in all.
OBJECTIVES = ("cross_entropy", "self_critical")
LONGER = ("updown", "transformer")
#: Epochs by cross-entropy, and more of them.
EPOCHS, MORE = 6, 4
#: So few pictures to train on that all takes less than an hour on two cores.
FEWER = {**PICTURES, "train": 1500, "val": 100}
#: On rewards a captioner learns at this share of its rate.
SLOWER = 0.1


def run_of(out: Path, model: str, features: str, seed: int, objective: str) -> Path:
    """Return the run directory of a training."""
    return out / "runs" / f"{model}-{features}-{seed}-{objective}"


def job(out: Path, model: str, features: str, seed: int, objectives: tuple[str, ...]) -> None:
    """Train one captioner in several ways, one after the other, and score it."""
    import torch

    torch.set_num_threads(1)
    for objective in objectives:
        run = run_of(out, model, features, seed, objective)
        about = {"model": model, "features": features, "seed": seed, "objective": objective}
        command = training(out, model, features, seed, objective)
        train_and_score(run, about, command, lambda run: scores(out, run, features))


def training(out: Path, model: str, features: str, seed: int, objective: str) -> list[str]:
    """Return how to train by cross-entropy, or to go on from there on rewards."""
    command = ["experiment=caption_scenes", f"scenes={out}/scenes", f"features={out}/{features}.h5"]
    command += [f"model={model}_small", f"seed={seed}", PRECISION]
    if objective == "self_critical":
        start = run_of(out, model, features, seed, "cross_entropy")
        command += ["objective=self_critical", f"start={start}", "scheduler=constant"]
        command += [f"optimizer.lr={SLOWER * RATES[model]:g}", f"trainer.max_epochs={MORE}"]
    else:
        epochs = EPOCHS + (MORE if objective == "longer" else 0)
        command += [f"optimizer.lr={RATES[model]:g}", f"trainer.max_epochs={epochs}"]
    return command


def scores(out: Path, run: Path, features: str) -> Row:
    """Describe the pictures of both test splits and score it."""
    from bua.data.captions.files import read_captions
    from bua.engine.load import load
    from bua.inference.attention_maps import read_groundings, word_attention
    from bua.metrics.caption import caption_scores
    from bua.metrics.endings import bad_endings
    from bua.metrics.grounding import grounding
    from bua.metrics.spice import spice_missing
    from bua.store import FeatureStore

    trained, store = load(run), FeatureStore(out / f"{features}.h5")
    found: Row = {}
    for split in TESTS:
        file = read_captions(out / f"scenes/captions_{split}.json")
        ids = list(file.captions)
        said = {}
        for start in range(0, len(ids), 50):
            part = ids[start : start + 50]
            best = [one[0].text for one in trained.caption_store(store, part)]
            said |= dict(zip(part, best, strict=True))
        metrics = ("cider", *(() if spice_missing() else ("spice",)))
        numbers = caption_scores(said, file.captions, metrics=metrics, tokenizer="python")
        named = read_groundings(out / f"scenes/groundings_{split}.json")
        every = {
            **numbers,
            "bad_endings": bad_endings(said.values()),
            "words": sum(len(text.split()) for text in said.values()) / len(said),
            "repeated": sum(_repeats(text.split()) for text in said.values()) / len(said),
            **grounding(word_attention(trained, store, file, named))._asdict(),
        }
        found[split] = {name: round(value, 5) for name, value in every.items()}
    return found | drawn(run)


def drawn(run: Path) -> Row:
    """Return the mean reward of the captions that were drawn in the first and the last epoch, if any were."""
    with open(run / "metrics.csv") as file:
        rewards = [float(row["train/reward"]) for row in csv.DictReader(file) if "train/reward" in row]
    return {"drawn": [round(rewards[0], 5), round(rewards[-1], 5)]} if rewards else {}


def _repeats(words: list[str]) -> bool:
    """Say whether three words in a row come twice."""
    grams = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(grams)) < len(grams)


def main(out: Path, jobs: int = 1, more: str = "") -> None:
    """Run the whole study."""
    if more not in ("", "more"):
        raise SystemExit(f"{more}: OUT [JOBS] [more] is needed")
    every = [(out, m, f, s, OBJECTIVES) for s in SEEDS for m in RATES for f in FEATURES]
    every += [(out, m, "regions", s, ("longer",)) for s in SEEDS for m in LONGER]
    runs = [run_of(out, m, f, s, o) for _, m, f, s, objectives in every for o in objectives]
    run_study(out, Path(__file__).parent, job, every, runs, jobs, PICTURES if more else FEWER, more)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *map(int, sys.argv[2:3]), *sys.argv[3:])
