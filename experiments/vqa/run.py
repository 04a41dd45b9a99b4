"""The VQA study on synthetic scenes: python -m experiments.vqa.run OUT [JOBS].

Every model is trained on regions and on grid cells, beside baselines that do not attend and one that does
not look, with three seeds, and some once more for longer; results.json is written here. What is there
already in OUT is not done again. JOBS trainings run at a time, one thread each.
"""

import sys
from pathlib import Path

from experiments.study import FEATURES, SEEDS, TESTS, Row, run_study, train_and_score

#: Epochs of training.
EPOCHS = 16
COUNTER = "model.counter={_target_:bua.models.vqa.counting.Counter,objects:10}"
#: What each model is trained with. Rates are the best of those in rates.py, or those of the experiment: for
#: Hu's, at twice that rate accuracy on val was 0.07 higher in the one run of each.
MODELS = {
    "updown_hu": ["model=updown_hu_small", "optimizer.lr=6e-3"],
    # parts of it learn at rates of their own, which the schedule of the others would lose
    "updown_teney": [
        "model=updown_teney_small",
        "optimizer.lr=5e-3",
        "scheduler=constant",
        "data.padding=end",
        "data.geometry=1",  # its regions have unit length: boxes would be all that is left of them
    ],
    "ban": ["model=ban_small", "model.hidden_size=128", "optimizer.lr=2e-3", "data.padding=end"],
    "mcan": ["model=mcan_small", "optimizer.lr=2e-3", "data.padding=end"],
    "mean_pooled": ["model=mean_pooled_vqa_small", "optimizer.lr=6e-3"],
    "updown_hu_counter": ["model=updown_hu_small", "optimizer.lr=6e-3", COUNTER],
    "question_only": ["model=question_only_small", "optimizer.lr=6e-3"],
}
#: The last two are trained on regions only: one to see what counting adds, the other sees nothing.
BOTH = list(MODELS)[:-2]
#: Epochs of a longer training of these, on regions; MCAN's at half of its rate.
LONGER = {"updown_hu": 32, "updown_teney": 48, "ban": 32, "mcan": 32, "mean_pooled": 32}
SLOWER = {"mcan": ["optimizer.lr=1e-3"]}
PRECISION = "trainer.precision=bf16-mixed"


def run_of(out: Path, model: str, features: str, seed: int, epochs: int) -> Path:
    """Return the run directory of a training."""
    longer = "-longer" if epochs != EPOCHS else ""
    return out / "runs" / f"vqa-{model}-{features}-{seed}{longer}"


def job(out: Path, model: str, features: str, seed: int, epochs: int) -> None:
    """Train one model and score it."""
    import torch

    torch.set_num_threads(1)
    command = ["experiment=vqa_scenes", f"scenes={out}/scenes", f"features={out}/{features}.h5"]
    command += [f"seed={seed}", f"trainer.max_epochs={epochs}", *MODELS[model]]
    command += [*SLOWER.get(model, []), PRECISION] if epochs != EPOCHS else []
    about = {"model": model, "features": features, "seed": seed, "epochs": epochs}
    run = run_of(out, model, features, seed, epochs)
    train_and_score(run, about, command, lambda run: scores(out, run, features))


def scores(out: Path, run: Path, features: str) -> Row:
    """Answer the questions of both test splits and score it."""
    from bua.data.vqa.files.plain_values import read_vqa
    from bua.engine.load import load
    from bua.inference.attention_maps import question_attention, read_question_groundings
    from bua.metrics.grounding import grounding
    from bua.metrics.vqa import vqa_accuracy
    from bua.store import FeatureStore

    trained, store, scenes = load(run), FeatureStore(out / f"{features}.h5"), out / "scenes"
    found: Row = {"parameters": sum(p.numel() for p in trained.model.parameters())}
    for split in TESTS:
        asked, annotations = read_vqa(
            scenes / f"questions_{split}.json", scenes / f"annotations_{split}.json"
        )
        answers = []
        for start in range(0, len(asked), 100):
            part = asked[start : start + 100]
            answers += trained.answer_store(store, [q.image_id for q in part], [q.text for q in part])
        said = {q.question_id: answer.text for q, answer in zip(asked, answers, strict=True)}
        accuracy = vqa_accuracy(said, annotations)
        found[split] = {"overall": accuracy["overall"], **accuracy["per_answer_type"]}
        named = read_question_groundings(scenes / f"question_groundings_{split}.json")
        pairs = list(zip(asked, answers, strict=True))
        types = {"overall": pairs} | {
            kind: [(q, a) for q, a in pairs if annotations[q.question_id].answer_type == kind]
            for kind in accuracy["per_answer_type"]
        }
        found[split]["grounding"] = {
            kind: grounding(question_attention(*zip(*some, strict=True), store, named))._asdict()
            for kind, some in types.items()
        }
    return found


def main(out: Path, jobs: int) -> None:
    """Run the whole study."""
    every = [
        (out, m, f, s, EPOCHS) for s in SEEDS for m in MODELS for f in FEATURES if f == "regions" or m in BOTH
    ]
    every += [(out, m, "regions", s, epochs) for s in SEEDS for m, epochs in LONGER.items()]
    run_study(out, Path(__file__).parent, job, every, [run_of(*arguments) for arguments in every], jobs)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
