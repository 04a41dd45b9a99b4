"""VQA models that answer together, and what a prediction carries."""

import json

import numpy as np
import pytest
import torch

from bua.data.vqa.datamodule import VQADataModule
from bua.data.vqa.files.read import read_questions
from bua.errors import InputError
from bua.inference.ensemble import Member, VQAEnsemble
from bua.inference.predict_vqa import looked
from bua.inference.predictor import Predictor
from bua.text.answers import AnswerVocabulary
from tests.helpers.data import vqa_data
from tests.tasks.test_tasks import answering


def member(data: VQADataModule, seed: int, share: float = 1.0) -> Member:
    model = answering(data).model
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return Member(
        Predictor(model, data.record, detector=lambda: None, source=f"run{seed}"), data.store, {}, share
    )


def turned(one: Member) -> Member:
    """Return the same model with its answers in another order."""
    answers = one.trained.answers
    order = torch.randperm(len(answers), generator=torch.Generator().manual_seed(4))
    listed = AnswerVocabulary(*([names[n] for n in order] for names in (answers.answers, answers.surface_forms)))
    record = {**one.trained.record, "answers": listed.to_dict()}
    other = Predictor(one.trained.model, record, detector=lambda: None, source="turned")
    scores = other.scores
    other.scores = lambda *given: (scores(*given)[0][:, order], scores(*given)[1])
    return Member(other, one.store, {}, one.share)


@pytest.fixture(scope="module")
def data(scenes) -> VQADataModule:
    return vqa_data(scenes)


@pytest.fixture(scope="module")
def asked(scenes):
    some = read_questions(scenes / "questions_val.json")[:9]
    return [q.image_id for q in some], [q.text for q in some]


def test_one_model_alone_answers_as_it_does_anyway(data, asked) -> None:
    one = member(data, 1)
    together = VQAEnsemble([one]).answer(*asked, candidates=3)
    for found, alone in zip(
        together, one.trained.answer_store(data.store, *asked, candidates=3), strict=True
    ):
        assert [text for text, _ in found.candidates] == [text for text, _ in alone.candidates]
        assert [s for _, s in found.candidates] == pytest.approx([s for _, s in alone.candidates])
        np.testing.assert_allclose(found.weights, alone.weights, atol=1e-6)


def test_scores_and_attention_are_the_mean_by_shares(data, asked) -> None:
    members = [member(data, 1, 3.0), member(data, 2, 1.0)]
    count = len(data.answers)
    found = VQAEnsemble(members).answer(*asked, candidates=count)
    alone = [m.trained.answer_store(data.store, *asked, candidates=count) for m in members]
    for one, *each in zip(found, *alone, strict=True):
        scores = [dict(answer.candidates) for answer in each]
        for text, score in one.candidates:
            assert score == pytest.approx((3 * scores[0][text] + scores[1][text]) / 4, abs=1e-6)
        np.testing.assert_allclose(one.weights, (3 * each[0].weights + each[1].weights) / 4, atol=1e-6)
        assert one.weights.sum() == pytest.approx(1, abs=1e-5)


def test_answers_are_matched_by_what_they_say_and_not_by_their_place(data, asked) -> None:
    first, second = member(data, 1), member(data, 2)
    same = VQAEnsemble([first, second]).answer(*asked, candidates=4)
    for found, wanted in zip(
        VQAEnsemble([first, turned(second)]).answer(*asked, candidates=4), same, strict=True
    ):
        assert [t for t, _ in found.candidates] == [t for t, _ in wanted.candidates]
        assert [s for _, s in found.candidates] == pytest.approx([s for _, s in wanted.candidates])


def test_other_answers_are_refused_with_the_first_that_differs(data, scenes) -> None:
    fewer = vqa_data(scenes, min_answer_count=3)
    assert 0 < len(fewer.answers) < len(data.answers)
    with pytest.raises(InputError, match=r"run2: its .* answers are not the .* of run1: it lacks '.*'"):
        VQAEnsemble([member(data, 1), member(fewer, 2)])
    with pytest.raises(InputError, match=r"run1: its .* answers are not the .* of run2: it has '.*' besides"):
        VQAEnsemble([member(fewer, 2), member(data, 1)])


def test_images_that_a_store_calls_otherwise_are_found_there(data, asked) -> None:
    one = member(data, 1)
    names = {f"image {i}.jpg": i for i in asked[0]}
    other = one._replace(images=names)
    found = VQAEnsemble([other]).answer([f"image {i}.jpg" for i in asked[0]], asked[1])
    assert [a.text for a in found] == [a.text for a in VQAEnsemble([one]).answer(*asked)]


def test_the_regions_most_looked_at_come_first() -> None:
    boxes = np.arange(16, dtype=np.float32).reshape(4, 4)
    assert looked(np.array([0.1, 0.5, 0.15, 0.25], np.float32), boxes, 2) == [
        {"box": [4.0, 5.0, 6.0, 7.0], "weight": 0.5},
        {"box": [12.0, 13.0, 14.0, 15.0], "weight": 0.25},
    ]
    assert json.dumps(looked(np.ones(4, np.float32), boxes, 9))
