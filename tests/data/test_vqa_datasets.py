"""Questions of other origin than VQA v2, as their makers write them, go into training and validation."""

from typing import Any

import numpy as np
import pytest
from bua.data.vqa.files.read import read_questions

from bua.store.reader import FeatureStore
from tests.data.test_vqa_files import written
from tests.helpers.data import vqa_data
from tests.helpers.stores import write_store


def other_sets(image: str) -> dict[str, tuple[Any, Any, list[Any], str]]:
    """Return eight questions about an image in the formats of other sets, their answers, ids and type."""
    said = ["yes" if n % 2 else "no" for n in range(8)]
    asked = [{"question_id": n, "image_id": image, "question": f"Is it {n}?"} for n in range(8)]
    ten = [[{"answer": answer}] * 10 for answer in said]
    raw = [[one | {"raw_answer": "so it is"} for one in answers] for answers in ten]
    return {
        "GQA": (
            {f"0{n}": {"imageId": image, "question": f"Is it {n}?", "answer": said[n]} for n in range(8)},
            None,
            [f"0{n}" for n in range(8)],
            "unknown",
        ),
        "OK-VQA": (
            {"questions": asked},
            {"annotations": [{**asked[n], "answer_type": "other", "answers": raw[n]} for n in range(8)]},
            list(range(8)),
            "other",
        ),
        "TextVQA": (
            {"data": [asked[n] | {"answers": [said[n]] * 10} for n in range(8)]},
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


def test_there_are_other_sets() -> None:
    assert len(other_sets("1")) == 4


@pytest.mark.parametrize("name", other_sets("1"))
def test_sets_of_other_origin_are_trained_on_and_validated(name: str, scenes, tmp_path) -> None:
    image = str(read_questions(scenes / "questions_train.json")[0].image_id)
    asked, answered, ids, kind = other_sets(image)[name]
    path = written(tmp_path, "asked.json", asked)
    annotations = None if answered is None else written(tmp_path, "answered.json", answered)
    more = {}
    if name == "VizWiz":  # whose questions each have an image of their own
        one = FeatureStore(scenes / "regions.h5")
        more["features"] = str(write_store(tmp_path / "f.h5", {i: one[one.image_ids[0]] for i in ids}))
    files = {"train": path, "train_annotations": annotations, "val": path, "val_annotations": annotations}
    data = vqa_data(scenes, **files, **more)
    batch = next(iter(data.val_dataloader()))
    assert batch.question_id == ids
    assert batch.targets.sum(1).tolist() == [1.0] * 8
    assert data.val_set.types == [kind]
    said = np.full(8, data.answers.index("yes"))
    assert batch.answer_targets.of(said).tolist() == [0.0, 1.0] * 4
    assert next(iter(data.train_dataloader())).targets.sum() == 8
