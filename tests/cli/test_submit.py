"""``bua submit``: the server's file under its official name, or one line and no file."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from bua.cli import main
from bua.evaluation.submission import SERVER_FORMATS, TEST2015
from tests.cli.test_score_vqa import FAULTS
from tests.helpers.commands import run_error

IDS = [13, 10, 12, 11]  # in an order that is neither of numbers nor of the predictions
EVERY = [{"question_id": i, "answer": f"thing {i}", "score": 0.5} for i in sorted(IDS)]


def command(folder: Path, predictions: Any = EVERY, subtype: str = "test2015", **keys: str) -> list[str]:
    """Write the files and return the command."""
    questions = [{"question_id": i, "image_id": 1, "question": "What?"} for i in IDS]
    content = {"questions": questions, "data_subtype": subtype}
    (folder / "q.json").write_text(json.dumps(content))
    text = predictions if isinstance(predictions, str) else json.dumps(predictions)
    (folder / "p.json").write_text(text)
    keys = {"out": str(folder / "sent.json"), **keys}
    more = [f"{key}={value}" for key, value in keys.items()]
    return ["submit", "task=vqa", f"predictions={folder}/p.json", f"questions={folder}/q.json", *more]


def test_answers_stand_in_the_order_of_the_questions_and_with_nothing_else(tmp_path, capfd) -> None:
    assert main(command(tmp_path)) == 0
    sent = (tmp_path / "sent.json").read_bytes()
    assert json.loads(sent) == [{"question_id": i, "answer": f"thing {i}"} for i in IDS]
    out = capfd.readouterr().out
    assert f"{tmp_path}/sent.json: 4 answers" in out
    assert hashlib.sha256(sent).hexdigest() in out


@pytest.mark.parametrize(
    ("split", "subtype"), [("val", "val2014"), ("test-dev", "test-dev2015"), ("test-std", "test2015")]
)
def test_a_file_in_a_folder_has_its_official_name(split: str, subtype: str, tmp_path) -> None:
    keys = {"out": f"{tmp_path}/new/", "split": split, "name": "updown_hu"}
    assert main(command(tmp_path, subtype=subtype, **keys)) == 0
    names = [path.name for path in (tmp_path / "new").iterdir()]
    assert names == [f"v2_OpenEnded_mscoco_{subtype}_updown_hu_results.json"]


def test_a_path_without_an_ending_is_a_folder_where_a_split_is_given(tmp_path) -> None:
    assert main(command(tmp_path, subtype="val2014", out=f"{tmp_path}/sent", split="val")) == 0
    assert [path.name for path in (tmp_path / "sent").iterdir()] == [
        "v2_OpenEnded_mscoco_val2014_bua_results.json"
    ]


def test_a_file_is_not_given_another_name(tmp_path, capfd) -> None:
    assert main(command(tmp_path, subtype="val2014", out=f"{tmp_path}/one.json", split="val", name="x")) == 2
    assert f"name=x: out={tmp_path}/one.json is the name of the file; give a folder" in capfd.readouterr().err
    assert not (tmp_path / "one.json").exists()


def test_every_split_is_of_a_known_subset() -> None:
    assert set(SERVER_FORMATS["vqa"].subsets) == {"val", "test-dev", "test-std"}


@pytest.mark.parametrize("split", ["test-dev", "test-std"])
def test_questions_of_test_dev_alone_are_warned_of_in_both_phases(split: str, tmp_path, capfd) -> None:
    assert main(command(tmp_path, subtype="test-dev2015", split=split)) == 0
    lines = [line for line in capfd.readouterr().out.splitlines() if "the server wants" in line]
    assert len(lines) == 1
    assert "q.json: 4 questions of test-dev2015" in lines[0]
    assert f"{TEST2015} of test2015" in lines[0]


def test_nothing_is_warned_of_without_reason(tmp_path, capfd) -> None:
    assert main(command(tmp_path, subtype="val2014", split="val")) == 0
    assert len(capfd.readouterr().out.splitlines()) == 1


def test_empty_answers_and_those_of_no_list_are_counted(tmp_path, capfd) -> None:
    (tmp_path / "a.json").write_text(json.dumps(["Thing-10", "thing 11"]))
    answers = [*EVERY[:3], {"question_id": 13, "answer": " "}]
    assert main(command(tmp_path, answers, answers=f"{tmp_path}/a.json")) == 0
    out = capfd.readouterr().out
    assert "p.json: 1 answers are empty" in out
    assert f"p.json: 2 answers are not in {tmp_path}/a.json, as 'thing 12'" in out


def test_there_are_faults_to_find() -> None:
    assert len(FAULTS) >= 8


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_faulty_file_is_refused_in_one_line_and_nothing_is_written(name: str, tmp_path, capfd) -> None:
    content, *messages = FAULTS[name]
    line = run_error(capfd, *command(tmp_path, content))
    assert all(message in line for message in messages), line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.json", "q.json"]


def test_an_older_file_is_left_alone_by_a_faulty_one(tmp_path, capfd) -> None:
    (tmp_path / "sent.json").write_text("older")
    run_error(capfd, *command(tmp_path, EVERY[1:]))
    assert (tmp_path / "sent.json").read_text() == "older"


MISTAKES = [
    ({"split": "test"}, "split=test: val, test-dev, test-std is needed"),
    ({"out": "."}, ". is a folder: give split=val|test-dev|test-std for the name of the file"),
    ({"out": ".", "split": "val", "name": "a/b"}, "name=a/b: letters, digits"),
    ({"split": "val"}, "split=val: "),
    ({"questions": "null"}, "questions is needed for task=vqa: give questions=FILE"),
    ({"task": "poem"}, "task=poem: vqa or caption is needed"),
]


@pytest.mark.parametrize(("keys", "message"), MISTAKES)
def test_mistakes_are_told_in_one_line(keys, message, tmp_path, capfd, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = command(tmp_path, **keys)
    later = {word.partition("=")[0]: word for word in given[1:]}  # the last word of a key counts
    assert message in run_error(capfd, "submit", *later.values())


def coco(folder: Path, ids: list[Any], predicted: list[Any]) -> list[str]:
    images = {"images": [{"id": i, "file_name": f"{i}.jpg"} for i in ids]}
    (folder / "images.json").write_text(json.dumps(images))
    captions = [{"image_id": i, "caption": f"a {i}"} for i in predicted]
    (folder / "p.json").write_text(json.dumps(captions))
    return ["submit", "task=caption", f"predictions={folder}/p.json", f"images={folder}/images.json"]


def test_captions_are_checked_and_written_too(tmp_path) -> None:
    assert main([*coco(tmp_path, [5, 3], [3, 5]), f"out={tmp_path}", "split=test"]) == 0
    sent = json.loads((tmp_path / "captions_test2014_bua_results.json").read_text())
    assert sent == [{"image_id": 5, "caption": "a 5"}, {"image_id": 3, "caption": "a 3"}]


def test_captions_of_other_images_or_under_other_ids_are_refused(tmp_path, capfd) -> None:
    line = run_error(capfd, *coco(tmp_path, [5, 3], [3]), f"out={tmp_path}/c.json")
    assert "p.json: 1 of the 2 images of" in line
    line = run_error(capfd, *coco(tmp_path, ["a", "b"], ["b", "a"]), f"out={tmp_path}/c.json")
    assert "image 'a' is not named by a whole number (2 of 2)" in line


@pytest.mark.parametrize(
    ("task", "word"),
    [("vqa", "images=i.json"), ("caption", "questions=q.json"), ("caption", "answers=a.json")],
)
def test_keys_of_the_other_task_are_refused(task: str, word: str, tmp_path, capfd) -> None:
    words = [f"task={task}", f"predictions={tmp_path}/p.json", f"out={tmp_path}/sent.json", word]
    assert main(["submit", *words]) == 2
    assert capfd.readouterr().err.strip() == f"bua submit: {word}: task={task} does not take it"
