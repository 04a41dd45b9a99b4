"""The VQA study on synthetic scenes: python -m experiments.vqa.run OUT [JOBS].

Every model is trained on regions and on grid cells with three seeds, next to two baselines: one without
attention and one without the image. Some models are also trained for longer. The results go to
``results.json`` in this folder. Runs that OUT already holds are not repeated. JOBS trainings run at a time,
with one thread each.
"""

import sys
from pathlib import Path

from experiments.study import FEATURES, SEEDS, TEST_SPLITS, Row, run_study, train_and_score

#: Epochs of training.
EPOCHS = 16
COUNTER = "model.counter={_target_:bua.models.vqa.counting.Counter,objects:10}"
#: Overrides of ``bua train`` for each model. Learning rates are the best of those in rates.py, or that of the
#: experiment. Twice the rate of updown_hu gave an accuracy on val higher by 0.07, in one run of each.
MODELS = {
    "updown_hu": ["model=updown_hu_small", "optimizer.lr=6e-3"],
    # its parts have learning rates of their own, which the one-cycle schedule would override
    "updown_teney": [
        "model=updown_teney_small",
        "optimizer.lr=5e-3",
        "scheduler=constant",
        "data.questions.padding=end",
        "data.geometry=1",  # the model scales regions to unit length, where boxes times 20 would dominate
    ],
    "ban": ["model=ban_small", "model.hidden_size=128", "optimizer.lr=2e-3", "data.questions.padding=end"],
    "mcan": ["model=mcan_small", "optimizer.lr=2e-3", "data.questions.padding=end"],
    "mean_pooled": ["model=mean_pooled_vqa_small", "optimizer.lr=6e-3"],
    "updown_hu_counter": ["model=updown_hu_small", "optimizer.lr=6e-3", COUNTER],
    "question_only": ["model=question_only_small", "optimizer.lr=6e-3"],
}
#: Models that are trained on regions only, where counting is compared; the other one has no image features.
REGIONS_ONLY = ("updown_hu_counter", "question_only")
#: Models that are also trained for more epochs, on regions; MCAN then at half its learning rate.
LONGER = {"updown_hu": 32, "updown_teney": 48, "ban": 32, "mcan": 32, "mean_pooled": 32}
LONGER_OVERRIDES = {"mcan": ["optimizer.lr=1e-3"]}
PRECISION = "trainer.precision=bf16-mixed"


def run_directory(out: Path, model: str, features: str, seed: int, epochs: int) -> Path:
    """Return the run directory of a training."""
    longer = "-longer" if epochs != EPOCHS else ""
    return out / "runs" / f"vqa-{model}-{features}-{seed}{longer}"


def job(out: Path, model: str, features: str, seed: int, epochs: int) -> None:
    """Train one model and score it."""
    import torch

    torch.set_num_threads(1)
    overrides = ["experiment=vqa_scenes", f"scenes={out}/scenes", f"features={out}/{features}.h5"]
    overrides += [f"seed={seed}", f"trainer.max_epochs={epochs}", *MODELS[model]]
    overrides += [*LONGER_OVERRIDES.get(model, []), PRECISION] if epochs != EPOCHS else []
    labels = {"model": model, "features": features, "seed": seed, "epochs": epochs}
    run = run_directory(out, model, features, seed, epochs)
    train_and_score(run, labels, overrides, lambda run: score(out, run, features))


def score(out: Path, run: Path, features: str) -> Row:
    """Answer the questions of both test splits, and score answers and attention."""
    from bua.data.vqa.files import read_annotations, read_questions
    from bua.engine import load
    from bua.inference.attention_maps import question_attention, read_question_groundings
    from bua.metrics.grounding import grounding
    from bua.metrics.vqa import vqa_accuracy
    from bua.store import FeatureStore

    predictor, store, scenes = load(run), FeatureStore(out / f"{features}.h5"), out / "scenes"
    row: Row = {"parameters": sum(p.numel() for p in predictor.model.parameters())}
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


def main(out: Path, jobs: int) -> None:
    """Run the whole study."""
    arguments = [
        (out, m, f, s, EPOCHS)
        for s in SEEDS
        for m in MODELS
        for f in FEATURES
        if f == "regions" or m not in REGIONS_ONLY
    ]
    arguments += [(out, m, "regions", s, epochs) for s in SEEDS for m, epochs in LONGER.items()]
    runs = [run_directory(*one) for one in arguments]
    run_study(out, Path(__file__).parent, job, arguments, runs, jobs)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
