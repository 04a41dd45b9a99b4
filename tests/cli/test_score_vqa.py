"""``bua score task=vqa``: the stored file in every digit, what more it can say, and faults of files."""

import json
from pathlib import Path
from typing import Any

import pytest

from bua.cli import main
from tests.helpers.commands import run_error

ASKED = {10: ("yes/no", "yes"), 11: ("yes/no", "no"), 12: ("other", "t-shirt"), 13: ("number", "2")}


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
    """Four questions, their annotations and right answers to all."""
    questions = [{"question_id": i, "image_id": 1, "question": "What?"} for i in ASKED]
    return {
        "questions": {"questions": questions, "data_subtype": "val2014"},
        "annotations": {"annotations": [annotation(i, *kind) for i, kind in ASKED.items()]},
        "predictions": [{"question_id": i, "answer": answer} for i, (_, answer) in ASKED.items()],
    }


def words(folder: Path, files: dict[str, Any]) -> list[str]:
    """Write the files and return the command about them."""
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{name}.json").write_text(text)
    return ["score", "task=vqa", *[f"{name}={folder}/{name}.json" for name in files]]


def scored(folder: Path, files: dict[str, Any], *more: str) -> dict[str, Any]:
    assert main([*words(folder, files), f"out={folder}/m.json", *more]) == 0
    found: dict[str, Any] = json.loads((folder / "m.json").read_text())
    return found


@pytest.mark.parametrize("rule", ["official", "legacy"])
def test_the_stored_predictions_score_as_stored_in_every_digit(rule: str, shared, tmp_path) -> None:
    mini = shared / "data/vqa_v2_mini"
    out = tmp_path / "m.json"
    command = ["score", "task=vqa", f"predictions={shared}/vqa_accuracy/predictions.json", f"rule={rule}"]
    command += [f"questions={mini}/questions_val.json", f"annotations={mini}/annotations_val.json"]
    assert main([*command, f"out={out}"]) == 0
    found = json.loads(out.read_text())
    expected = json.loads((shared / "vqa_accuracy/expected.json").read_text())[rule]
    assert {name: found[name] for name in expected} == expected
    assert found["questions"] == found["signature"]["questions"] == 200
    assert found["signature"]["rule"] == rule


def test_right_answers_have_full_marks_and_the_signature_says_how(files, tmp_path, capfd) -> None:
    found = scored(tmp_path, files)
    assert found["overall"] == 100
    assert found["per_answer_type"] == {"number": 100, "other": 100, "yes/no": 100}
    assert found["counts"] == {
        "without_ten_answers": 0,
        "with_one_answer": 0,
        "without_answer_type": 0,
        "without_question_type": 0,
        "not_balanced_and_left_out": 0,
        "without_answers_and_left_out": 0,
        "answered_and_not_asked": 0,
    }
    assert "annotators are left out by position" in found["signature"]["policy"]
    assert (
        "overall 100.00  number 100.00  other 100.00  yes/no 100.00  (4 questions)" in capfd.readouterr().out
    )


def test_what_the_official_rule_does_not_decide_is_counted_and_printed(files, tmp_path, capfd) -> None:
    first, second = files["annotations"]["annotations"][:2]
    first["answers"] = first["answers"][:1]
    second["answers"] = second["answers"][:3]
    del second["answer_type"]
    second["question_type"] = ""
    found = scored(tmp_path, files)
    assert found["counts"] == {
        "without_ten_answers": 2,
        "with_one_answer": 1,
        "without_answer_type": 1,
        "without_question_type": 1,
        "not_balanced_and_left_out": 0,
        "without_answers_and_left_out": 0,
        "answered_and_not_asked": 0,
    }
    assert found["per_answer_type"] == {"number": 100, "other": 100, "unknown": 66.67, "yes/no": 100}
    out = capfd.readouterr().out
    assert "questions without ten answers: 2, with one answer: 1, without answer type: 1" in out


def test_what_is_left_out_is_counted_and_printed(files, tmp_path, capfd) -> None:
    files["questions"]["questions"] = files["questions"]["questions"][:3]
    files["predictions"] = files["predictions"][:3]
    counts = scored(tmp_path, files)["counts"]
    assert (counts["answered_and_not_asked"], counts["without_answers_and_left_out"]) == (1, 0)
    assert "without answers and left out: 0, answered and not asked: 1" in capfd.readouterr().out


@pytest.mark.parametrize("predicted", [[1], [1, 2]], ids=str)
@pytest.mark.parametrize("alone", [True, False], ids=["annotations", "with questions"])
def test_questions_without_answers_are_left_out_whether_they_are_predicted_or_not(
    predicted: list[int], alone: bool, tmp_path, capfd
) -> None:
    own = {"question_id": 1, "image_id": "a", "question": "What?", "answers": ["a"] * 10}
    both = {"data": [own, own | {"question_id": 2, "answers": []}]}
    content: dict[str, Any] = {"annotations": both} if alone else {"annotations": both, "questions": both}
    content["predictions"] = [{"question_id": i, "answer": "a"} for i in predicted]
    found = scored(tmp_path, content)
    assert (found["overall"], found["questions"]) == (100, 1)
    assert found["counts"]["without_answers_and_left_out"] == 1
    assert "without answers and left out: 1, answered and not asked: 0" in capfd.readouterr().out


def test_questions_beside_their_answers_in_one_file_are_answered(files, tmp_path) -> None:
    files["annotations"] |= files.pop("questions")
    counts = scored(tmp_path, files)["counts"]
    assert not any(counts.values())


def test_questions_that_are_not_asked_are_in_no_other_count(tmp_path) -> None:
    one = {"imageId": "1", "question": "Is it?", "answer": "yes"}
    gqa = {name: one | {"isBalanced": name != "c"} for name in "abc"}
    said = [{"question_id": "a", "answer": "yes"}]
    content = {"annotations": gqa, "questions": {"a": gqa["a"]}, "predictions": said}
    counts = scored(tmp_path, content)["counts"]
    assert (counts["not_balanced_and_left_out"], counts["answered_and_not_asked"]) == (0, 1)


def test_answers_without_ids_count_as_ten_annotators(files, tmp_path) -> None:
    for one in files["annotations"]["annotations"]:
        one["answers"] = [{"answer": answer["answer"]} for answer in one["answers"]]
    assert scored(tmp_path, files)["overall"] == 100


def test_balanced_pairs_and_the_bound_of_a_list_are_scored_on_request(files, tmp_path, capfd) -> None:
    files["predictions"][3]["answer"] = "3"
    files["pairs"] = [[10, 11], [12, 13], [10, 99]]
    files["answers"] = ["yes", "no", "t shirt"]
    found = scored(tmp_path, files)
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


def test_the_list_of_a_run_is_that_in_its_folder(files, tmp_path) -> None:
    (tmp_path / "answers.json").write_text(json.dumps(["t-shirt"]))
    assert scored(tmp_path, files, f"answers={tmp_path}")["best_possible"]["overall"] == 25


def test_no_file_is_changed(files, tmp_path) -> None:
    command = words(tmp_path, files)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert main(command) == 0
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def entry(question_id: object, answer: object = "yes") -> dict[str, object]:
    return {"question_id": question_id, "answer": answer}


EVERY = [entry(i) for i in ASKED]
FAULTS = {
    "missing": (EVERY[1:], "1 of the 4 questions of", "the first is 10"),
    "extra": ([*EVERY, entry(5), entry(6)], "question 5 is not in", "2 of the 6 predictions"),
    "twice": ([*EVERY, EVERY[0]], "question_id 10 is duplicated", "1 of 5 entries"),
    "numbers as texts": ([entry(str(i)) for i in ASKED], "question '10'", "without quotes"),
    "truth values": ([*EVERY, entry(True)], '"question_id" is True', "1 of 5 entries"),
    "answers that are numbers": ([entry(i, 2) for i in ASKED], '"answer" is 2', "4 of 4 entries"),
    "an object": ({"results": EVERY}, "a JSON list of", "is needed"),
    "JSON lines": ("\n".join(map(json.dumps, EVERY)), "JSON lines", "make one list of them"),
}


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_faulty_file_of_predictions_ends_in_one_line(name: str, files, tmp_path, capfd) -> None:
    content, *messages = FAULTS[name]
    line = run_error(capfd, *words(tmp_path, {**files, "predictions": content}))
    assert "predictions.json" in line
    assert all(message in line for message in messages), line


def test_annotations_must_be_there_for_every_question(files, tmp_path, capfd) -> None:
    files["annotations"]["annotations"] = files["annotations"]["annotations"][2:]
    line = run_error(capfd, *words(tmp_path, files))
    assert "annotations.json: 2 of the 4 questions of" in line
    assert "have no annotation, one is 10" in line


def test_without_annotations_nothing_can_be_scored(files, tmp_path, capfd) -> None:
    del files["annotations"]
    assert "annotations is needed for task=vqa: give annotations=FILE" in run_error(capfd, *words(tmp_path, files))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"pairs": [[1, 2]]}, "pairs.json: of none of the 1 pairs both questions were scored"),
        ({"answers": {"a1": 1}}, "answers.json: index 0 is missing"),
    ],
)
def test_faulty_pairs_and_answers_are_named(more, message, files, tmp_path, capfd) -> None:
    assert message in run_error(capfd, *words(tmp_path, {**files, **more}))


def test_an_unknown_rule_is_named(files, tmp_path, capfd) -> None:
    line = run_error(capfd, *words(tmp_path, files), "rule=new")
    assert "rule=new: official, legacy, always is needed" in line


@pytest.mark.parametrize(
    "wrong",
    ["references=r.json", "splits=[test]", "complete=true", "metrics=[cider]", "tokenizer=python"],
)
def test_keys_of_captions_are_refused(wrong: str, files, tmp_path, capfd) -> None:
    line = run_error(capfd, *words(tmp_path, files), wrong)
    key = wrong.split("=")[0]
    assert line.startswith(f"bua score: {key}=")
    assert line.endswith("task=vqa does not take it")


def test_scores_of_gqa_are_those_of_its_balanced_questions(tmp_path, capfd) -> None:
    types = {"structural": "verify", "semantic": "attr"}
    asked = {
        str(n): {
            "imageId": "7",
            "question": f"Is it {n}?",
            "answer": "yes",
            "types": types,
            "isBalanced": n < 3,
        }
        for n in range(4)
    }
    (tmp_path / "gqa.json").write_text(json.dumps(asked))
    said = [{"question_id": str(n), "answer": "no" if n in (0, 3) else "yes"} for n in range(4)]
    for some in (said, said[:3]):  # answers to the others count nothing
        (tmp_path / "p.json").write_text(json.dumps(some))
        command = ["score", "task=vqa", f"predictions={tmp_path}/p.json", f"annotations={tmp_path}/gqa.json"]
        for more in ([], [f"questions={tmp_path}/gqa.json"]):
            assert main([*command, *more, f"out={tmp_path}/s.json"]) == 0
            assert json.loads((tmp_path / "s.json").read_text())["overall"] == 66.67
            assert "not balanced and left out: 1" in capfd.readouterr().out
