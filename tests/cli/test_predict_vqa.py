"""``bua predict`` of VQA models: one model and ensembles, scores, candidates and attention."""

import json
from pathlib import Path

import pytest
import torch

from bua.cli import main
from bua.engine.loading import find_checkpoint, read_checkpoint
from tests.helpers.commands import run_ok

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(scenes, tmp_path_factory) -> list[Path]:
    """Return the runs of two models of different kinds with the same answers."""
    out = tmp_path_factory.mktemp("runs")
    common = [f"scenes={scenes}", "trainer.max_epochs=1", "data.answers.min_count=2", "data.batch_size=32"]
    run_ok("train", "experiment=vqa_scenes", *common, f"out={out}/one")
    run_ok("train", "experiment=vqa_scenes_blind", *common, f"out={out}/two", "data.questions.padding=end")
    return [out / "one", out / "two"]


def predict(runs: list[Path], out: Path, *more: object) -> list[dict]:
    """Return the predictions of the first run."""
    run_ok("predict", f"run={runs[0]}", f"out={out}", *more)
    return json.loads(out.read_text())


def test_a_checkpoint_predicts_with_the_files_of_its_run(runs, tmp_path) -> None:
    last = runs[0] / "checkpoints/last.ckpt"
    assert predict([last], tmp_path / "p.json") == predict(runs, tmp_path / "q.json")


def test_every_question_has_one_official_record(runs, scenes, tmp_path) -> None:
    found = predict(runs, tmp_path / "p.json", f"questions={scenes}/questions_test.json")
    questions = json.loads((scenes / "questions_test.json").read_text())["questions"]
    assert [record["question_id"] for record in found] == [q["question_id"] for q in questions]
    assert {frozenset(record) for record in found} == {frozenset({"question_id", "answer"})}
    run_ok(
        "submit",
        "task=vqa",
        f"predictions={tmp_path}/p.json",
        f"questions={scenes}/questions_test.json",
        f"out={tmp_path}/submission.json",
    )
    assert json.loads((tmp_path / "submission.json").read_text()) == found


def test_scores_candidates_and_attention_are_written_on_request(runs, tmp_path) -> None:
    found = predict(runs, tmp_path / "p.json", "scores=true", "n_best=3", "attention=2")
    for record in found:
        assert record["candidates"][0] == {"answer": record["answer"], "score": record["score"]}
        scores = [candidate["score"] for candidate in record["candidates"]]
        assert scores == sorted(scores, reverse=True)
        assert len(scores) == 3
        first, second = record["attention"]
        assert first["weight"] >= second["weight"] > 0
        assert len(first["box"]) == 4


def test_the_score_of_an_ensemble_is_the_weighted_mean(runs, tmp_path) -> None:
    options = ("scores=true", "n_best=100")

    def scores(records: list[dict]) -> list[dict[str, float]]:
        return [{c["answer"]: c["score"] for c in record["candidates"]} for record in records]

    single = [scores(predict(order, tmp_path / "p.json", *options)) for order in (runs, runs[::-1])]
    both = scores(
        predict(runs, tmp_path / "p.json", *options, f"ensemble=[{runs[1]}]", "ensemble_weights=[3,1]")
    )
    for one, two, mean in zip(*single, both, strict=True):
        assert mean.keys() == one.keys() == two.keys()
        for answer, score in mean.items():
            assert score == pytest.approx((3 * one[answer] + two[answer]) / 4, abs=2e-6)


MISTAKES = {
    "ensemble_weights=[1,2,3]": "ensemble_weights=[1, 2, 3]: must be a list of 2 numbers, one per model",
    "ensemble_weights=0.5": "ensemble_weights=0.5: must be a list of 2 numbers, one per model",
    "ensemble_weights=[1,inf]": "ensemble_weights=[1, inf]: a weight must be a number above 0, got inf",
    "ensemble_weights=[true,1]": "ensemble_weights=[True, 1]: a weight must be a number above 0, got True",
    "ensemble_weights=[0,1]": "ensemble_weights=[0, 1]: a weight must be a number above 0, got 0",
    "split=features": "split=features: a run has train and val; give questions=FILE for others",
    "split=test": "split=test: a run has train and val; give questions=FILE for others",
    "ensemble=runs/two": "ensemble=runs/two: must be a list of runs: ensemble=[runs/two]",
}


@pytest.mark.parametrize("word", ["decode=greedy", "decode.beam_size=3", "images=i.json", "splits=[test]"])
def test_keys_of_captioning_are_rejected(word: str, runs, tmp_path, capfd) -> None:
    assert main(["predict", f"run={runs[0]}", f"out={tmp_path}/p.json", word]) == 2
    line = capfd.readouterr().err.strip()
    assert line == f"bua predict: {word}: {runs[0]} answers questions and does not take it"


def test_mistakes_are_listed() -> None:
    assert len(MISTAKES) >= 7


@pytest.mark.parametrize("word", MISTAKES)
def test_mistakes_are_reported_in_one_line(word: str, runs, tmp_path, capsys) -> None:
    words = ["predict", f"run={runs[0]}", f"out={tmp_path}/p.json", f"ensemble=[{runs[1]}]", word]
    assert main(words) == 2
    assert capsys.readouterr().err.splitlines() == [f"bua predict: {MISTAKES[word]}"]
    assert not (tmp_path / "p.json").exists()


def test_split_and_questions_exclude_each_other(runs, tmp_path, capsys) -> None:
    words = ["predict", f"run={runs[0]}", f"out={tmp_path}/p.json", "questions=q.json", "split=val"]
    assert main(words) == 2
    assert capsys.readouterr().err == "bua predict: split=val: give either split= or questions=, not both\n"


def test_a_split_of_the_run_can_be_predicted(runs, scenes, tmp_path) -> None:
    found = predict(runs, tmp_path / "p.json", "split=train")
    questions = json.loads((scenes / "questions_train.json").read_text())["questions"]
    assert [record["question_id"] for record in found] == [q["question_id"] for q in questions]


def test_init_from_prevails_over_word_vectors(runs, scenes, tmp_path) -> None:
    vectors = tmp_path / "glove.txt"
    vectors.write_text(
        "".join(f"{word} {' '.join(['0.5'] * 100)}\n" for word in ("the", "is", "how", "many"))
    )
    options = [f"scenes={scenes}", "trainer.max_epochs=1", "data.answers.min_count=2", "data.batch_size=32"]
    options += [f"init_from={runs[0]}", "optimizer.lr=1e-12", f"objective.word_vectors={vectors}"]
    run_ok("train", "experiment=vqa_scenes", *options, f"out={tmp_path}/three")
    before, after = (read_checkpoint(find_checkpoint(run))[1] for run in (runs[0], tmp_path / "three"))
    torch.testing.assert_close(after["encoder.word.weight"], before["encoder.word.weight"])
