"""The captioning study on synthetic scenes: python -m experiments.captioning.run OUT [JOBS] [more].

Every captioner is trained by cross-entropy and then on rewards, on regions and on grid cells, with three
seeds. The results go to ``results.json`` in this folder, or to ``more.json`` with more training images. Runs
that OUT already holds are not repeated. JOBS trainings run at a time, with one thread each.
"""

import csv
import sys
from pathlib import Path

from experiments.study import FEATURES, IMAGES, SEEDS, TEST_SPLITS, Row, run_study, train_and_score

#: Learning rate of each captioner, the best of those in rates.py.
RATES = {
    "updown": 2e-3,
    "updown_caffe": 2e-3,
    "att2in": 2e-3,
    "soft_attention": 4e-3,
    "transformer": 2e-3,
    "mean_pooled": 2e-3,
}
#: Precision of training; captions are generated in float32.
PRECISION = "trainer.precision=bf16-mixed"
#: Cross-entropy, and rewards from its weights on.
OBJECTIVES = ("cross_entropy", "self_critical")
#: Captioners that are also trained by cross-entropy for all epochs of both objectives, on regions.
LONGER = ("updown", "transformer")
#: Epochs of cross-entropy, and epochs on rewards.
EPOCHS, REWARD_EPOCHS = 6, 4
#: Numbers of images with which the study takes less than an hour on two cores.
FEWER_IMAGES = {**IMAGES, "train": 1500, "val": 100}
#: Learning rate on rewards, relative to that of cross-entropy.
REWARD_RATE = 0.1


def run_directory(out: Path, model: str, features: str, seed: int, objective: str) -> Path:
    """Return the run directory of a training."""
    return out / "runs" / f"{model}-{features}-{seed}-{objective}"


def job(out: Path, model: str, features: str, seed: int, objectives: tuple[str, ...]) -> None:
    """Train one captioner with each objective in turn, and score it."""
    import torch

    torch.set_num_threads(1)
    for objective in objectives:
        run = run_directory(out, model, features, seed, objective)
        labels = {"model": model, "features": features, "seed": seed, "objective": objective}
        overrides = train_overrides(out, model, features, seed, objective)
        train_and_score(run, labels, overrides, lambda run: score(out, run, features))


def train_overrides(out: Path, model: str, features: str, seed: int, objective: str) -> list[str]:
    """Return the overrides of ``bua train``."""
    overrides = ["experiment=caption_scenes", f"scenes={out}/scenes", f"features={out}/{features}.h5"]
    overrides += [f"model={model}_small", f"seed={seed}", PRECISION]
    if objective == "self_critical":
        init_from = run_directory(out, model, features, seed, "cross_entropy")
        overrides += ["objective=self_critical", f"init_from={init_from}", "scheduler=constant"]
        overrides += [f"optimizer.lr={REWARD_RATE * RATES[model]:g}", f"trainer.max_epochs={REWARD_EPOCHS}"]
    else:
        epochs = EPOCHS + (REWARD_EPOCHS if objective == "longer" else 0)
        overrides += [f"optimizer.lr={RATES[model]:g}", f"trainer.max_epochs={epochs}"]
    return overrides


def score(out: Path, run: Path, features: str) -> Row:
    """Caption the images of both test splits, and score captions and attention."""
    from bua.data.captions.files import read_captions
    from bua.engine import load
    from bua.inference.attention_maps import read_groundings, word_attention
    from bua.metrics.caption import caption_scores
    from bua.metrics.endings import bad_ending_rate
    from bua.metrics.grounding import grounding
    from bua.metrics.spice import spice_missing
    from bua.store import FeatureStore

    captioner, store = load(run), FeatureStore(out / f"{features}.h5")
    row: Row = {}
    for split in TEST_SPLITS:
        file = read_captions(out / f"scenes/captions_{split}.json")
        image_ids = list(file.captions)
        captions = {}
        for start in range(0, len(image_ids), 50):
            batch = image_ids[start : start + 50]
            candidates = captioner.caption_batch(captioner.region_input.load(store, batch))
            captions |= {i: best[0].text for i, best in zip(batch, candidates, strict=True)}
        metrics = ("cider", *(() if spice_missing() else ("spice",)))
        scores = caption_scores(captions, file.captions, metrics=metrics, tokenizer="python")
        named = read_groundings(out / f"scenes/groundings_{split}.json")
        numbers = {
            **scores,
            "bad_endings": bad_ending_rate(captions.values()),
            "words": sum(len(text.split()) for text in captions.values()) / len(captions),
            "repeated": sum(has_repeated_trigram(text.split()) for text in captions.values()) / len(captions),
            **grounding(word_attention(captioner, store, file, named))._asdict(),
        }
        row[split] = {name: round(value, 5) for name, value in numbers.items()}
    return row | sample_rewards(run)


def sample_rewards(run: Path) -> Row:
    """Return the mean reward of sampled captions in the first and the last epoch, if the run has rewards."""
    with open(run / "metrics.csv") as file:
        rewards = [float(row["train/reward"]) for row in csv.DictReader(file) if "train/reward" in row]
    return {"sample_rewards": [round(rewards[0], 5), round(rewards[-1], 5)]} if rewards else {}


def has_repeated_trigram(words: list[str]) -> bool:
    """Return whether three words in a row occur twice."""
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(trigrams)) < len(trigrams)


def main(out: Path, jobs: int = 1, variant: str = "") -> None:
    """Run the whole study."""
    if variant not in ("", "more"):
        raise SystemExit(f"{variant}: the arguments are OUT [JOBS] [more]")
    arguments = [(out, m, f, s, OBJECTIVES) for s in SEEDS for m in RATES for f in FEATURES]
    arguments += [(out, m, "regions", s, ("longer",)) for s in SEEDS for m in LONGER]
    runs = [run_directory(out, m, f, s, o) for _, m, f, s, objectives in arguments for o in objectives]
    images = IMAGES if variant else FEWER_IMAGES
    run_study(out, Path(__file__).parent, job, arguments, runs, jobs, images, variant)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *map(int, sys.argv[2:3]), *sys.argv[3:])
