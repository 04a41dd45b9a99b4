"""``bua questions check``, and options of the questions from training to prediction."""

import json

from bua.cli import main
from tests.helpers.data import write_json
from tests.helpers.question_files import GQA, VIZWIZ, VQA, VQA_ANSWERS
from tests.helpers.stores import regions, write_store


def test_a_valid_file_is_summarized(capfd, tmp_path) -> None:
    features = write_store(tmp_path / "f.h5", {1: regions(2)})
    path, answers = write_json(tmp_path, VQA, "q.json"), write_json(tmp_path, VQA_ANSWERS, "a.json")
    words = [f"file={path}", f"annotations={answers}", f"features={features}", "min_answer_count=1"]
    assert main(["questions", "check", *words]) == 0
    out = capfd.readouterr()
    assert out.err == ""
    assert out.out.splitlines() == [
        f"{path}: VQA v2, 1 questions on 1 images, 10 answers, 0 questions without answer type, "
        "0 with a single answer, 0 annotations of other questions",
        f"{path}: 1 answers are the most frequent answer to at least 1 questions; "
        "0 questions have none of them",
        f"{path}: valid",
    ]


def test_unusual_questions_are_remarked_on(capfd, tmp_path) -> None:
    content = GQA | {"b": GQA["02930152"]}
    assert main(["questions", "check", f"file={write_json(tmp_path, content, 'q.json')}"]) == 0
    out = capfd.readouterr().out
    assert "2 questions have a single answer, which a prediction must match" in out
    assert "1 questions repeat an earlier one about the same image" in out
    assert "0 answers are the most frequent answer to at least 9 questions; 2 questions have none" in out
    content = [VIZWIZ[0] | {"answers": ["a", "b"]}]
    assert main(["questions", "check", f"file={write_json(tmp_path, content, 'q.json')}"]) == 0
    assert "1 questions have neither 10 answers nor one" in capfd.readouterr().out
    assert main(["questions", "check", f"file={write_json(tmp_path, VQA, 'q.json')}"]) == 0
    assert "has no answers; it can only be used for prediction" in capfd.readouterr().out


def test_every_problem_is_reported_in_one_line(capfd, tmp_path) -> None:
    features = write_store(tmp_path / "f.h5", {"VizWiz_train_00000000.jpg": regions(2)})
    unanswered = {"image": "b.jpg", "question": "what?"}
    path = write_json(
        tmp_path, [VIZWIZ[0], VIZWIZ[0], unanswered, {"image": "c.jpg", "question": ""}, 3], "q.json"
    )
    assert main(["questions", "check", f"file={path}", f"features={features}"]) == 2
    assert capfd.readouterr().err.splitlines() == [
        f"{path}: question VizWiz_train_00000000.jpg is duplicated",
        f"{path}: question c.jpg is empty",
        f"{path}: entry[4] is not an object",
        f"{path}: question b.jpg of {path} has no annotation",
        f"bua questions check: {path}: image b.jpg has no regions in {features}",
    ]


def test_two_images_that_match_one_of_the_store_are_reported(capfd, tmp_path) -> None:
    features = write_store(tmp_path / "f.h5", {"12.jpg": regions(2)})
    questions = [{"image": name, "question": "what?"} for name in ("a/12.jpg", "b/12.jpg", "c.jpg")]
    path = write_json(tmp_path, questions, "q.json")
    assert main(["questions", "check", f"file={path}", f"features={features}"]) == 2
    assert capfd.readouterr().err.splitlines() == [
        f"{path}: image c.jpg has no regions in {features}",
        f"bua questions check: {features}: image '12.jpg' matches two images of {path}: 'a/12.jpg' and "
        "'b/12.jpg'",
    ]


def test_a_run_cannot_resume_or_start_with_other_answers(scenes, capfd, tmp_path) -> None:
    run = [
        "train",
        "experiment=vqa_scenes",
        f"scenes={scenes}",
        f"out={tmp_path}/run",
        "trainer.max_epochs=1",
        "model.word_size=8",
        "model.hidden_size=8",
        "data.batch_size=32",
        "data.questions.padding=end",
    ]
    assert main([*run, "data.answers.min_count=3"]) == 0
    out = capfd.readouterr().out
    assert f"{scenes}/questions_train.json: VQA v2, " in out
    assert " without an answer in the list of " in out
    other = json.loads((tmp_path / "run/answers.json").read_text())
    assert main([*run, "data.answers.min_count=4", "resume=true"]) == 2
    expected = "data.answers.min_count differs from that of the run (3, not 4); resume with the same options"
    assert expected in capfd.readouterr().err
    again = [word for word in run if not word.startswith("out=")]
    assert main([*again, "data.answers.min_count=4", f"out={tmp_path}/new", f"init_from={tmp_path}/run"]) == 2
    line = capfd.readouterr().err.strip().splitlines()[-1]
    few = len(json.loads((tmp_path / "run/answers.json").read_text())["answers"])
    assert f"its list of answers is not that of these data (answers: {few}, not " in line
    assert line.endswith(f"give data.answers.file={tmp_path}/run/answers.json")
    listed = f"data.answers.file={tmp_path}/run/answers.json"
    assert main([*again, listed, f"out={tmp_path}/third", f"init_from={tmp_path}/run"]) == 0
    assert json.loads((tmp_path / "third/answers.json").read_text()) == other
    assert main(["predict", f"run={tmp_path}/third", f"out={tmp_path}/p.json"]) == 0
    predicted = {p["answer"] for p in json.loads((tmp_path / "p.json").read_text())}
    assert predicted <= set(other["surface"])
