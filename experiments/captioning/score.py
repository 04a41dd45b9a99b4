"""Scores of the captioning study: python -m experiments.captioning.score STUDY [rates|more]."""

import csv
import sys
from pathlib import Path

from bua.engine.run_directory import RunDirectory
from experiments.scoring import TEST_SPLITS, Row, score_sweeps, tried_rates, write_results

#: Sweeps of the study, which are also its objectives.
SWEEPS = ("cross_entropy", "self_critical", "longer")


def model_name(overrides: dict[str, str]) -> str:
    """Return the name of a captioner without its size."""
    return overrides["model"].removesuffix("_small")


def labels(sweep: str, overrides: dict[str, str]) -> Row:
    """Return what a job is."""
    what = {"model": model_name(overrides), "features": overrides["kind"], "seed": int(overrides["seed"])}
    return {**what, "objective": sweep}


def score(study: Path, run: Path) -> Row:
    """Caption the images of both test splits, and score captions and attention."""
    from bua.data.captions.files import read_captions
    from bua.engine import load
    from bua.inference.attention_maps import read_groundings, word_attention
    from bua.metrics.caption import caption_scores
    from bua.metrics.endings import bad_ending_rate
    from bua.metrics.grounding import grounding
    from bua.metrics.spice import spice_missing
    from bua.store import FeatureStore

    captioner, store = load(run), FeatureStore(Path(RunDirectory(run).config()["features"]))
    row: Row = {}
    for split in TEST_SPLITS:
        file = read_captions(study / f"scenes/captions_{split}.json")
        image_ids = list(file.captions)
        captions = {}
        for start in range(0, len(image_ids), 50):
            batch = image_ids[start : start + 50]
            candidates = captioner.caption_batch(captioner.region_input.load(store, batch))
            captions |= {i: best[0].text for i, best in zip(batch, candidates, strict=True)}
        metrics = ("cider", *(() if spice_missing() else ("spice",)))
        scores = caption_scores(captions, file.captions, metrics=metrics, tokenizer="python")
        named = read_groundings(study / f"scenes/groundings_{split}.json")
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


def main(study: Path, what: str = "results") -> None:
    """Write ``results.json``, that of more training images ``more.json``, or ``rates.json``."""
    if what not in ("results", "more", "rates"):
        raise SystemExit(f"{what}: the arguments are STUDY [rates|more]")
    if what == "rates":
        results = tried_rates(study, "val/CIDEr", model_name)
    else:
        results = score_sweeps(study, SWEEPS, labels, lambda run: score(study, run))
    write_results(Path(__file__).parent / f"{what}.json", results)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *sys.argv[2:])
