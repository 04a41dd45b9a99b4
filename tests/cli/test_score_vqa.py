"""``bua score task=vqa``: stored scores in every digit, counts, further scores, and invalid files."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.commands import run_error, run_ok
from tests.helpers.predictions import INVALID_PREDICTIONS

ANSWERS = {10: ("yes/no", "yes"), 11: ("yes/no", "no"), 12: ("other", "t-shirt"), 13: ("number", "2")}


def annotation(question_id: int, kind: str, answer: str) -> dict[str, Any]:
    answers = [{"answer": answer, "answer_id": n, "answer_confidence": "yes"} for n in range(1, 11)]
    return {
        "question_id": question_id,
        "image_id": 1,
        "question_type": "what",
        "answer_type": kind,
        "multiple_choice_answer": answer,
        "answers": answers,
    }


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """Return four questions, their annotations, and correct answers to all of them."""
    questions = [{"question_id": i, "image_id": 1, "question": "What?"} for i in ANSWERS]
    return {
        "questions": {"questions": questions, "data_subtype": "val2014"},
        "annotations": {"annotations": [annotation(i, *kind) for i, kind in ANSWERS.items()]},
        "predictions": [{"question_id": i, "answer": answer} for i, (_, answer) in ANSWERS.items()],
    }


def command(folder: Path, files: dict[str, Any]) -> list[str]:
    """Write the files and return the command that scores them."""
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{name}.json").write_text(text)
    return ["score", "task=vqa", *[f"{name}={folder}/{name}.json" for name in files]]


def score(folder: Path, files: dict[str, Any], *overrides: str) -> dict[str, Any]:
    """Return the result of the command."""
    run_ok(*command(folder, files), f"out={folder}/m.json", *overrides)
    result: dict[str, Any] = json.loads((folder / "m.json").read_text())
    return result


@pytest.mark.parametrize("rule", ["official", "legacy"])
def test_the_stored_predictions_have_the_stored_scores_in_every_digit(rule: str, shared, tmp_path) -> None:
    mini = shared / "data/vqa_v2_mini"
    out = tmp_path / "m.json"
    words = ["score", "task=vqa", f"predictions={shared}/vqa_accuracy/predictions.json", f"rule={rule}"]
    words += [f"questions={mini}/questions_val.json", f"annotations={mini}/annotations_val.json"]
    run_ok(*words, f"out={out}")
    found = json.loads(out.read_text())
    expected = json.loads((shared / "vqa_accuracy/expected.json").read_text())[rule]
    assert {name: found[name] for name in expected} == expected
    assert found["questions"] == found["signature"]["questions"] == 200
    assert found["signature"]["rule"] == rule


def test_correct_answers_score_100_and_the_signature_states_the_policy(files, tmp_path, capfd) -> None:
    found = score(tmp_path, files)
    assert found["overall"] == 100
    assert found["per_answer_type"] == {"number": 100, "other": 100, "yes/no": 100}
    assert found["counts"] == {
        "without_prediction_and_left_out": 0,
        "without_ten_answers": 0,
        "with_one_answer": 0,
        "without_answer_type": 0,
        "without_question_type": 0,
        "not_balanced_and_left_out": 0,
        "without_answers_and_left_out": 0,
        "annotated_but_not_asked": 0,
    }
    assert "annotators are left out by position" in found["signature"]["policy"]
    assert (
        "overall 100.00  number 100.00  other 100.00  yes/no 100.00  (4 questions)" in capfd.readouterr().out
    )


def test_questions_that_the_official_rule_does_not_cover_are_counted_and_printed(
    files, tmp_path, capfd
) -> None:
    first, second = files["annotations"]["annotations"][:2]
    first["answers"] = first["answers"][:1]
    second["answers"] = second["answers"][:3]
    del second["answer_type"]
    second["question_type"] = ""
    found = score(tmp_path, files)
    assert found["counts"] == {
        "without_prediction_and_left_out": 0,
        "without_ten_answers": 2,
        "with_one_answer": 1,
        "without_answer_type": 1,
        "without_question_type": 1,
        "not_balanced_and_left_out": 0,
        "without_answers_and_left_out": 0,
        "annotated_but_not_asked": 0,
    }
    assert found["per_answer_type"] == {"number": 100, "other": 100, "unknown": 66.67, "yes/no": 100}
    out = capfd.readouterr().out
    assert "questions without ten answers: 2, with one answer: 1, without answer type: 1" in out


def test_annotations_without_a_question_are_counted_and_printed(files, tmp_path, capfd) -> None:
    files["questions"]["questions"] = files["questions"]["questions"][:3]
    files["predictions"] = files["predictions"][:3]
    counts = score(tmp_path, files)["counts"]
    assert (counts["annotated_but_not_asked"], counts["without_answers_and_left_out"]) == (1, 0)
    assert "annotated but not asked: 1" in capfd.readouterr().out


@pytest.mark.parametrize("predicted", [[1], [1, 2]], ids=str)
@pytest.mark.parametrize("with_questions", [False, True], ids=["annotations", "with questions"])
def test_questions_without_answers_are_left_out_even_if_predicted(
    predicted: list[int], with_questions: bool, tmp_path, capfd
) -> None:
    answered = {"question_id": 1, "image_id": "a", "question": "What?", "answers": ["a"] * 10}
    data = {"data": [answered, answered | {"question_id": 2, "answers": []}]}
    content: dict[str, Any] = {"annotations": data} | ({"questions": data} if with_questions else {})
    content["predictions"] = [{"question_id": i, "answer": "a"} for i in predicted]
    found = score(tmp_path, content)
    assert (found["overall"], found["questions"]) == (100, 1)
    assert found["counts"]["without_answers_and_left_out"] == 1
    assert "without answers and left out: 1" in capfd.readouterr().out


def test_questions_and_annotations_may_be_in_one_file(files, tmp_path) -> None:
    files["annotations"] |= files.pop("questions")
    counts = score(tmp_path, files)["counts"]
    assert not any(counts.values())


def test_annotated_questions_that_are_not_asked_are_counted_only_once(tmp_path) -> None:
    question = {"imageId": "1", "question": "Is it?", "answer": "yes"}
    gqa = {name: question | {"isBalanced": name != "c"} for name in "abc"}
    predictions = [{"question_id": "a", "answer": "yes"}]
    content = {"annotations": gqa, "questions": {"a": gqa["a"]}, "predictions": predictions}
    counts = score(tmp_path, content)["counts"]
    assert (counts["not_balanced_and_left_out"], counts["annotated_but_not_asked"]) == (0, 1)


def test_answers_without_ids_are_those_of_ten_annotators(files, tmp_path) -> None:
    for annotation in files["annotations"]["annotations"]:
        annotation["answers"] = [{"answer": answer["answer"]} for answer in annotation["answers"]]
    assert score(tmp_path, files)["overall"] == 100


def test_balanced_pairs_and_the_best_possible_accuracy_are_scored_on_request(files, tmp_path, capfd) -> None:
    files["predictions"][3]["answer"] = "3"
    files["pairs"] = [[10, 11], [12, 13], [10, 99]]
    files["answers"] = ["yes", "no", "t shirt"]
    found = score(tmp_path, files)
    assert found["balanced_pairs"] == {
        "accuracy": 50.0,
        "per_answer_type": {"yes/no": 100.0},
        "pairs": 2,
        "incomplete": 1,
        "repeated": 0,
    }
    best = found["best_possible"]  # all annotators wrote "t-shirt", and the list has "t shirt"
    assert (best["answers"], best["overall"]) == (3, 50.0)
    assert best["per_answer_type"] == {"number": 0, "other": 0, "yes/no": 100}
    out = capfd.readouterr().out
    assert "balanced pairs 50.00  yes/no 100.00  (2 pairs, 1 incomplete, 0 repeated)" in out
    assert "best possible 50.00  number 0.00  other 0.00  yes/no 100.00  (with 3 answers)" in out


def test_the_answers_of_a_run_are_read_from_its_folder(files, tmp_path) -> None:
    (tmp_path / "answers.json").write_text(json.dumps(["t-shirt"]))
    assert score(tmp_path, files, f"answers={tmp_path}")["best_possible"]["overall"] == 25


def test_scoring_changes_no_file(files, tmp_path) -> None:
    words = command(tmp_path, files)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    run_ok(*words)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", sorted(INVALID_PREDICTIONS))
def test_invalid_predictions_are_reported_in_one_line(name: str, files, tmp_path, capfd) -> None:
    content, *messages = INVALID_PREDICTIONS[name]
    line = run_error(capfd, *command(tmp_path, {**files, "predictions": content}))
    assert "predictions.json" in line
    assert all(message in line for message in messages), line


def test_questions_without_annotations_are_reported(files, tmp_path, capfd) -> None:
    files["annotations"]["annotations"] = files["annotations"]["annotations"][2:]
    line = run_error(capfd, *command(tmp_path, files))
    assert "annotations.json: 2 of the 4 questions of" in line
    assert "have no annotation, such as 10" in line


def test_annotations_are_mandatory(files, tmp_path, capfd) -> None:
    del files["annotations"]
    assert "annotations must be given for task=vqa: annotations=FILE" in run_error(
        capfd, *command(tmp_path, files)
    )


@pytest.mark.parametrize(
    ("invalid", "message"),
    [
        ({"pairs": [[1, 2]]}, "pairs.json: none of its 1 pairs has both questions scored"),
        ({"answers": {"a1": 1}}, "answers.json: index 0 is missing"),
    ],
)
def test_invalid_pairs_and_answers_are_reported_with_their_file(
    invalid, message, files, tmp_path, capfd
) -> None:
    assert message in run_error(capfd, *command(tmp_path, {**files, **invalid}))


def test_an_unknown_rule_is_reported_with_the_known_ones(files, tmp_path, capfd) -> None:
    line = run_error(capfd, *command(tmp_path, files), "rule=new")
    assert "rule=new: must be one of official, legacy, always" in line


@pytest.mark.parametrize(
    "override",
    ["references=r.json", "splits=[test]", "flagged=true", "metrics=[cider]", "tokenizer=python"],
)
def test_keys_of_captioning_are_rejected(override: str, files, tmp_path, capfd) -> None:
    line = run_error(capfd, *command(tmp_path, files), override)
    key = override.split("=")[0]
    assert line.startswith(f"bua score: {key}=")
    assert line.endswith("task=vqa does not take it")


def test_only_the_balanced_questions_of_gqa_are_scored(tmp_path, capfd) -> None:
    types = {"structural": "verify", "semantic": "attr"}
    questions = {
        str(n): {
            "imageId": "7",
            "question": f"Is it {n}?",
            "answer": "yes",
            "types": types,
            "isBalanced": n < 3,
        }
        for n in range(4)
    }
    (tmp_path / "gqa.json").write_text(json.dumps(questions))
    predictions = [{"question_id": str(n), "answer": "no" if n in (0, 3) else "yes"} for n in range(4)]
    for selected in (predictions, predictions[:3]):  # the last question is not balanced
        (tmp_path / "p.json").write_text(json.dumps(selected))
        words = ["score", "task=vqa", f"predictions={tmp_path}/p.json", f"annotations={tmp_path}/gqa.json"]
        for more in ([], [f"questions={tmp_path}/gqa.json"]):
            run_ok(*words, *more, f"out={tmp_path}/s.json")
            assert json.loads((tmp_path / "s.json").read_text())["overall"] == 66.67
            assert "not balanced and left out: 1" in capfd.readouterr().out


def test_results_of_vizwiz_and_gqa_are_scored_like_predictions(tmp_path) -> None:
    images = [f"VizWiz_val_{n:08d}.jpg" for n in range(2)]
    ten = [{"answer": "basil", "answer_confidence": "yes"}] * 10
    vizwiz = [{"image": i, "question": "what?", "answers": ten, "answer_type": "other"} for i in images]
    types = {"structural": "verify", "semantic": "attr"}
    gqa = {str(n): {"imageId": "9", "question": "is it?", "answer": "yes", "types": types} for n in range(2)}
    answered = {
        "VizWiz": (vizwiz, "image", "answer", dict(zip(images, ["basil", "soap"], strict=True))),
        "GQA": (gqa, "questionId", "prediction", {"0": "yes", "1": "no"}),
    }
    for annotations, key, value, answers in answered.values():
        results = [
            score(
                tmp_path,
                {
                    "questions": annotations,
                    "annotations": annotations,
                    "predictions": [{keys[0]: i, keys[1]: answer} for i, answer in answers.items()],
                },
            )
            for keys in ((key, value), ("question_id", "answer"))
        ]
        assert results[0]["overall"] == results[1]["overall"] == 50


def test_results_of_vizwiz_for_other_questions_are_refused(files, tmp_path, capfd) -> None:
    files["predictions"] = [{"image": "VizWiz_val_00000000.jpg", "answer": "basil"}]
    line = run_error(capfd, *command(tmp_path, files))
    assert "question 'VizWiz_val_00000000.jpg' is not in" in line
