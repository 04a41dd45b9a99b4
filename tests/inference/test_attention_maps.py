"""Attention of VQA models is compared with the objects that questions are about."""

import numpy as np
import pytest

from bua.data.vqa.files.read import read_questions
from bua.errors import InputError
from bua.inference.attention_maps import question_attention, read_question_groundings
from bua.inference.predictor import VQAPrediction
from bua.metrics.grounding import grounding
from bua.store import FeatureStore


def test_attention_to_the_named_objects_is_grounded_whatever_the_answer(scenes) -> None:
    store = FeatureStore(scenes / "regions.h5")
    questions = read_questions(scenes / "questions_val.json")
    named = read_question_groundings(scenes / "question_groundings_val.json")
    assert named.keys() == {q.question_id for q in questions}
    # the object of every question is its first region
    first = {q.question_id: np.asarray(store[q.image_id].boxes)[:1] for q in questions}
    answers = [VQAPrediction([("yes", 0.5)], np.eye(len(store[q.image_id]))[0]) for q in questions]
    found = grounding(question_attention(questions, answers, store, first))
    assert (found.iou_accuracy, found.pointing_accuracy, found.attention_mass) == (1, 1, 1)
    assert found.num_samples == len(questions)
    assert found.iou_chance < 1


def test_questions_without_objects_are_left_out(scenes) -> None:
    store = FeatureStore(scenes / "regions.h5")
    questions = read_questions(scenes / "questions_val.json")
    named = read_question_groundings(scenes / "question_groundings_val.json")
    answers = [VQAPrediction([("yes", 0.5)], np.ones(len(store[q.image_id]))) for q in questions]
    found = grounding(question_attention(questions, answers, store, named))
    assert found.num_samples == sum(len(boxes) > 0 for boxes in named.values())
    assert 0.5 * len(questions) < found.num_samples < len(questions)


def test_broken_groundings_are_reported(tmp_path) -> None:
    path = tmp_path / "g.json"
    path.write_text('[{"question_id": 1}]')
    with pytest.raises(InputError, match=r"g\.json: not a list of questions with boxes"):
        read_question_groundings(path)
