"""Questions of other data sets than VQA v2 are trained and validated on in their official formats."""

from typing import Any

import numpy as np
import pytest

from bua.data.vqa.files.read import read_question_file, read_questions
from bua.errors import InputError
from bua.store.reader import FeatureStore
from tests.helpers.data import first_batch, vqa_data, write_json
from tests.helpers.stores import write_store


def other_datasets(image: str) -> dict[str, tuple[Any, Any, list[Any], str]]:
    """Return the questions, annotations, ids and answer type of eight questions in each format."""
    answers = ["yes" if n % 2 else "no" for n in range(8)]
    questions = [{"question_id": n, "image_id": image, "question": f"Is it {n}?"} for n in range(8)]
    ten = [[{"answer": answer}] * 10 for answer in answers]
    raw = [[one | {"raw_answer": "so it is"} for one in listed] for listed in ten]
    return {
        "GQA": (
            {f"0{n}": {"imageId": image, "question": f"Is it {n}?", "answer": answers[n]} for n in range(8)},
            None,
            [f"0{n}" for n in range(8)],
            "unknown",
        ),
        "OK-VQA": (
            {"questions": questions},
            {"annotations": [{**questions[n], "answer_type": "other", "answers": raw[n]} for n in range(8)]},
            list(range(8)),
            "other",
        ),
        "TextVQA": (
            {"data": [questions[n] | {"answers": [answers[n]] * 10} for n in range(8)]},
            None,
            list(range(8)),
            "unknown",
        ),
        "VizWiz": (
            [
                {"image": f"{n}.jpg", "question": f"Is it {n}?", "answers": ten[n], "answer_type": "yes/no"}
                for n in range(8)
            ],
            None,
            [f"{n}.jpg" for n in range(8)],
            "yes/no",
        ),
    }


def test_other_datasets_are_collected() -> None:
    assert len(other_datasets("1")) == 4


@pytest.mark.parametrize("name", other_datasets("1"))
def test_other_datasets_can_be_trained_and_validated_on(name: str, scenes, tmp_path) -> None:
    image = str(read_questions(scenes / "questions_train.json")[0].image_id)
    questions, annotations, ids, answer_type = other_datasets(image)[name]
    path = write_json(tmp_path, questions, "questions.json")
    if annotations is not None:
        annotations = write_json(tmp_path, annotations, "annotations.json")
    options = {}
    if name == "VizWiz":  # every question has its own image
        stored = FeatureStore(scenes / "regions.h5")
        images = {i: stored[stored.image_ids[0]] for i in ids}
        options["features"] = str(write_store(tmp_path / "f.h5", images))
    files = {"train": path, "train_annotations": annotations, "val": path, "val_annotations": annotations}
    data = vqa_data(scenes, **files, **options)
    batch = first_batch(data, "val")
    assert batch.question_id == ids
    assert batch.targets.sum(1).tolist() == [1.0] * 8
    assert data.val_set.types == [answer_type]
    predicted = np.full(8, data.answers.index("yes"))
    assert batch.answer_targets.score(predicted).tolist() == [0.0, 1.0] * 4
    assert first_batch(data, "train").targets.sum() == 8


def test_a_list_with_question_ids_is_read_by_them(tmp_path) -> None:
    records = [
        {"question_id": 101, "question": "what color?", "answer": ["red", "red"], "image": "a.jpg"},
        {"question_id": "q2", "image_id": 7, "question": "how many?", "direct_answers": ["2"] * 10},
        {"question_id": 3, "image_id": 8, "question": "is it a cat?", "answer": "yes"},
    ]
    file = read_question_file(write_json(tmp_path, records))
    assert (file.format, file.ids) == ("list with question ids", [101, "q2", 3])
    assert list(file.image_ids) == ["a.jpg", 7, 8]
    assert [annotation.answers for annotation in file.annotations] == [("red", "red"), ("2",) * 10, ("yes",)]
    with pytest.raises(InputError, match=r"entry\[0\] .*: has no image"):
        read_question_file(write_json(tmp_path, [{"question_id": 1, "question": "what?"}]))
