"""``bua submit``: the file for the server under its official name, or one line and no file."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from bua.cli import main
from bua.evaluation.submission import SERVER_FORMATS, TEST2015
from tests.helpers.commands import run_error, run_ok
from tests.helpers.predictions import INVALID_PREDICTIONS

IDS = [13, 10, 12, 11]  # sorted neither by number nor as the predictions
PREDICTIONS = [{"question_id": i, "answer": f"answer {i}", "score": 0.5} for i in sorted(IDS)]


def command(
    folder: Path, predictions: Any = PREDICTIONS, subtype: str = "test2015", **keys: str
) -> list[str]:
    """Write the files and return the command that submits them."""
    questions = [{"question_id": i, "image_id": 1, "question": "What?"} for i in IDS]
    content = {"questions": questions, "data_subtype": subtype}
    (folder / "q.json").write_text(json.dumps(content))
    text = predictions if isinstance(predictions, str) else json.dumps(predictions)
    (folder / "p.json").write_text(text)
    keys = {"out": str(folder / "submission.json"), **keys}
    more = [f"{key}={value}" for key, value in keys.items()]
    return ["submit", "task=vqa", f"predictions={folder}/p.json", f"questions={folder}/q.json", *more]


def test_answers_are_in_the_order_of_the_questions_without_further_keys(tmp_path, capfd) -> None:
    run_ok(*command(tmp_path))
    written = (tmp_path / "submission.json").read_bytes()
    assert json.loads(written) == [{"question_id": i, "answer": f"answer {i}"} for i in IDS]
    out = capfd.readouterr().out
    assert f"{tmp_path}/submission.json: 4 answers" in out
    assert hashlib.sha256(written).hexdigest() in out


@pytest.mark.parametrize(
    ("split", "subtype"), [("val", "val2014"), ("test-dev", "test-dev2015"), ("test-std", "test2015")]
)
def test_the_file_in_a_folder_has_the_official_name(split: str, subtype: str, tmp_path) -> None:
    keys = {"out": f"{tmp_path}/new/", "split": split, "name": "updown_hu"}
    run_ok(*command(tmp_path, subtype=subtype, **keys))
    names = [path.name for path in (tmp_path / "new").iterdir()]
    assert names == [f"v2_OpenEnded_mscoco_{subtype}_updown_hu_results.json"]


def test_a_path_without_an_ending_is_a_folder_if_a_split_is_given(tmp_path) -> None:
    run_ok(*command(tmp_path, subtype="val2014", out=f"{tmp_path}/folder", split="val"))
    assert [path.name for path in (tmp_path / "folder").iterdir()] == [
        "v2_OpenEnded_mscoco_val2014_bua_results.json"
    ]


def test_a_name_is_rejected_if_out_is_a_file(tmp_path, capfd) -> None:
    assert main(command(tmp_path, subtype="val2014", out=f"{tmp_path}/one.json", split="val", name="x")) == 2
    assert f"name=x: out={tmp_path}/one.json is the name of a file; give a folder" in capfd.readouterr().err
    assert not (tmp_path / "one.json").exists()


def test_every_split_of_the_vqa_server_is_listed() -> None:
    assert set(SERVER_FORMATS["vqa"].subsets) == {"val", "test-dev", "test-std"}


@pytest.mark.parametrize("split", ["test-dev", "test-std"])
def test_submitting_only_test_dev_warns_in_both_phases(split: str, tmp_path, capfd) -> None:
    run_ok(*command(tmp_path, subtype="test-dev2015", split=split))
    lines = [line for line in capfd.readouterr().out.splitlines() if "the server expects" in line]
    assert len(lines) == 1
    assert "q.json: 4 questions of test-dev2015" in lines[0]
    assert f"{TEST2015} of test2015" in lines[0]


def test_a_valid_submission_causes_no_warning(tmp_path, capfd) -> None:
    run_ok(*command(tmp_path, subtype="val2014", split="val"))
    assert len(capfd.readouterr().out.splitlines()) == 1


def test_empty_answers_and_answers_outside_the_list_are_counted(tmp_path, capfd) -> None:
    (tmp_path / "a.json").write_text(json.dumps(["Answer-10", "answer 11"]))
    answers = [*PREDICTIONS[:3], {"question_id": 13, "answer": " "}]
    run_ok(*command(tmp_path, answers, answers=f"{tmp_path}/a.json"))
    out = capfd.readouterr().out
    assert "p.json: 1 answers are empty" in out
    assert f"p.json: 2 answers are not in {tmp_path}/a.json, such as 'answer 12'" in out


def test_invalid_predictions_are_listed() -> None:
    assert len(INVALID_PREDICTIONS) >= 8


@pytest.mark.parametrize("name", sorted(INVALID_PREDICTIONS))
def test_invalid_predictions_are_reported_in_one_line_and_nothing_is_written(
    name: str, tmp_path, capfd
) -> None:
    content, *messages = INVALID_PREDICTIONS[name]
    line = run_error(capfd, *command(tmp_path, content))
    assert all(message in line for message in messages), line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.json", "q.json"]


def test_invalid_predictions_do_not_replace_an_older_submission(tmp_path, capfd) -> None:
    (tmp_path / "submission.json").write_text("older")
    run_error(capfd, *command(tmp_path, PREDICTIONS[1:]))
    assert (tmp_path / "submission.json").read_text() == "older"


MISTAKES = [
    ({"split": "test"}, "split=test: must be one of val, test-dev, test-std"),
    (
        {"out": "."},
        "out=.: give the name of a .json file, or split=val|test-dev|test-std for the official name in it",
    ),
    ({"out": ".", "split": "val", "name": "a/b"}, "name=a/b: must consist of letters, digits"),
    ({"split": "val"}, "split=val: "),
    ({"questions": "null"}, "questions must be given for task=vqa: questions=FILE"),
    ({"task": "poem"}, "task=poem: must be vqa or caption"),
]


@pytest.mark.parametrize(("keys", "message"), MISTAKES)
def test_mistakes_are_reported_in_one_line(keys, message, tmp_path, capfd, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = command(tmp_path, **keys)
    last = {word.partition("=")[0]: word for word in words[1:]}  # the last override of a key counts
    assert message in run_error(capfd, "submit", *last.values())


def caption_command(folder: Path, ids: list[Any], predicted: list[Any]) -> list[str]:
    """Write images and captions, and return the command that submits them."""
    images = {"images": [{"id": i, "file_name": f"{i}.jpg"} for i in ids]}
    (folder / "images.json").write_text(json.dumps(images))
    captions = [{"image_id": i, "caption": f"a {i}"} for i in predicted]
    (folder / "p.json").write_text(json.dumps(captions))
    return ["submit", "task=caption", f"predictions={folder}/p.json", f"images={folder}/images.json"]


def test_captions_are_written_in_the_order_of_the_images(tmp_path) -> None:
    run_ok(*caption_command(tmp_path, [5, 3], [3, 5]), f"out={tmp_path}", "split=test")
    written = json.loads((tmp_path / "captions_test2014_bua_results.json").read_text())
    assert written == [{"image_id": 5, "caption": "a 5"}, {"image_id": 3, "caption": "a 3"}]


def test_missing_captions_and_ids_that_are_not_integers_are_reported(tmp_path, capfd) -> None:
    line = run_error(capfd, *caption_command(tmp_path, [5, 3], [3]), f"out={tmp_path}/c.json")
    assert "p.json: 1 of the 2 images of" in line
    line = run_error(capfd, *caption_command(tmp_path, ["a", "b"], ["b", "a"]), f"out={tmp_path}/c.json")
    assert "image id 'a' is not an integer (2 of 2)" in line


@pytest.mark.parametrize(
    ("task", "word"),
    [("vqa", "images=i.json"), ("caption", "questions=q.json"), ("caption", "answers=a.json")],
)
def test_keys_of_the_other_task_are_rejected(task: str, word: str, tmp_path, capfd) -> None:
    words = [f"task={task}", f"predictions={tmp_path}/p.json", f"out={tmp_path}/submission.json", word]
    assert main(["submit", *words]) == 2
    assert capfd.readouterr().err.strip() == f"bua submit: {word}: task={task} does not take it"


VIZWIZ_IMAGES = ["VizWiz_test_00000001.jpg", "VizWiz_test_00000000.jpg"]
VIZWIZ_QUESTIONS = [{"image": image, "question": "what?"} for image in VIZWIZ_IMAGES]
GQA_QUESTIONS = {str(i): {"imageId": "9", "question": "is it?", "isBalanced": i == 2} for i in (2, 1)}


def write_answers(folder: Path, questions: object, predictions: list[dict[str, str]]) -> list[str]:
    (folder / "q.json").write_text(json.dumps(questions))
    (folder / "p.json").write_text(json.dumps(predictions))
    return ["submit", "task=vqa", f"predictions={folder}/p.json", f"questions={folder}/q.json"]


@pytest.mark.parametrize("id_key", ["question_id", "image"])
def test_answers_to_vizwiz_have_the_keys_of_its_server(id_key: str, tmp_path) -> None:
    predictions = [{id_key: image, "answer": image[-5]} for image in sorted(VIZWIZ_IMAGES)]
    run_ok(*write_answers(tmp_path, VIZWIZ_QUESTIONS, predictions), f"out={tmp_path}/new/s.json")
    written = json.loads((tmp_path / "new/s.json").read_text())
    assert written == [{"image": image, "answer": image[-5]} for image in VIZWIZ_IMAGES]


@pytest.mark.parametrize("keys", [("question_id", "answer"), ("questionId", "prediction")])
def test_answers_to_gqa_have_the_keys_of_its_server_also_for_unbalanced_questions(
    keys, tmp_path, capfd
) -> None:
    predictions = [dict(zip(keys, (i, f"answer {i}"), strict=True)) for i in "12"]
    run_ok(*write_answers(tmp_path, GQA_QUESTIONS, predictions), f"out={tmp_path}/s.json")
    written = json.loads((tmp_path / "s.json").read_text())
    assert written == [{"questionId": i, "prediction": f"answer {i}"} for i in "21"]
    assert "p.json: 2 questions; GQA's server expects all of its submission" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["out={folder}"], "give the name of a .json file, as there is no official one"),
        (["out={folder}/s.json", "split=val"], "split=val: results with 'image' have no official file name"),
        (
            ["out={folder}/", "name=x"],
            "name=x: results with 'image' have no official file name; leave it out",
        ),
    ],
)
def test_results_without_an_official_name_need_the_name_of_a_file(keys, message, tmp_path, capfd) -> None:
    predictions = [{"image": image, "answer": "a"} for image in VIZWIZ_IMAGES]
    words = write_answers(tmp_path, VIZWIZ_QUESTIONS, predictions)
    assert message in run_error(capfd, *words, *(key.format(folder=tmp_path) for key in keys))


def test_a_missing_answer_to_vizwiz_is_named(tmp_path, capfd) -> None:
    words = write_answers(tmp_path, VIZWIZ_QUESTIONS, [{"image": VIZWIZ_IMAGES[0], "answer": "a"}])
    line = run_error(capfd, *words, f"out={tmp_path}/s.json")
    assert f"have no prediction, the first is '{VIZWIZ_IMAGES[1]}'" in line
