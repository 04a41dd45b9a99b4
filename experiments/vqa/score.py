"""Scores of the VQA study: python -m experiments.vqa.score STUDY [rates]."""

import sys
from pathlib import Path

from bua.engine.run_directory import RunDirectory
from experiments.scoring import TEST_SPLITS, Row, score_sweeps, tried_rates, write_results

#: Sweeps of the study.
SWEEPS = ("models", "baselines", "longer")


def model_name(overrides: dict[str, str]) -> str:
    """Return the name of a model."""
    return overrides["experiment"].removeprefix("study_")


def labels(_sweep: str, overrides: dict[str, str]) -> Row:
    """Return what a job is."""
    return {"model": model_name(overrides), "features": overrides["kind"], "seed": int(overrides["seed"])}


def score(study: Path, run: Path) -> Row:
    """Answer the questions of both test splits, and score answers and attention."""
    from bua.data.vqa.files import read_annotations, read_questions
    from bua.engine import load
    from bua.inference.attention_maps import question_attention, read_question_groundings
    from bua.metrics.grounding import grounding
    from bua.metrics.vqa import vqa_accuracy
    from bua.store import FeatureStore

    predictor, store, scenes = (
        load(run),
        FeatureStore(Path(RunDirectory(run).config()["features"])),
        study / "scenes",
    )
    epochs = RunDirectory(run).config()["trainer"]["max_epochs"]
    row: Row = {"epochs": epochs, "parameters": sum(p.numel() for p in predictor.model.parameters())}
    for split in TEST_SPLITS:
        questions = read_questions(scenes / f"questions_{split}.json")
        annotations = read_annotations(scenes / f"annotations_{split}.json")
        answers = []
        for start in range(0, len(questions), 100):
            batch = questions[start : start + 100]
            regions = predictor.region_input.load(store, [q.image_id for q in batch])
            answers += predictor.answer_batch(regions, [q.text for q in batch])
        pairs = list(zip(questions, answers, strict=True))
        accuracy = vqa_accuracy({q.question_id: answer.text for q, answer in pairs}, annotations)
        row[split] = {"overall": accuracy["overall"], **accuracy["per_answer_type"]}
        named = read_question_groundings(scenes / f"question_groundings_{split}.json")
        by_type = {"overall": pairs} | {
            kind: [(q, a) for q, a in pairs if annotations[q.question_id].answer_type == kind]
            for kind in accuracy["per_answer_type"]
        }
        row[split]["grounding"] = {
            kind: grounding(question_attention(*zip(*some, strict=True), store, named))._asdict()
            for kind, some in by_type.items()
        }
    return row


def main(study: Path, what: str = "results") -> None:
    """Write ``results.json`` or ``rates.json``."""
    if what not in ("results", "rates"):
        raise SystemExit(f"{what}: the arguments are STUDY [rates]")
    if what == "rates":
        results = tried_rates(study, "val/accuracy", model_name)
    else:
        results = score_sweeps(study, SWEEPS, labels, lambda run: score(study, run))
    write_results(Path(__file__).parent / f"{what}.json", results)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *sys.argv[2:])
