"""Ensembles of VQA models average scores and attention; records list the most attended regions."""

import json

import numpy as np
import pytest
import torch

from bua.data.vqa.datamodule import VQADataModule
from bua.data.vqa.files.read import read_questions
from bua.errors import InputError
from bua.inference.ensemble import Ensemble, StoredImages
from bua.inference.predict import most_attended
from bua.inference.vqa import VQAPredictor
from bua.text.answers import AnswerVocabulary
from tests.helpers.data import vqa_data
from tests.helpers.tasks import vqa_task


def predictor(data: VQADataModule, seed: int) -> VQAPredictor:
    """Return a predictor with weights of its own."""
    model = vqa_task(data).model
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return VQAPredictor(model, data.record, make_detector=lambda: None, source=f"run{seed}")


def with_shuffled_answers(original: VQAPredictor) -> VQAPredictor:
    """Return the same model with its answers in another order."""
    answers = original.answers
    order = torch.randperm(len(answers), generator=torch.Generator().manual_seed(4))
    shuffled = AnswerVocabulary(
        *([names[n] for n in order] for names in (answers.answers, answers.surface_forms))
    )
    record = {**original.record, "answers": shuffled.to_dict()}
    other = VQAPredictor(original.model, record, make_detector=lambda: None, source="shuffled")
    scores = other.scores
    other.scores = lambda *args: (scores(*args)[0][:, order], scores(*args)[1])
    return other


@pytest.fixture(scope="module")
def data(scenes) -> VQADataModule:
    return vqa_data(scenes)


@pytest.fixture(scope="module")
def questions(scenes):
    return read_questions(scenes / "questions_val.json")[:9]


@pytest.fixture(scope="module")
def regions(data, questions):
    return data.region_input.load(data.store, [q.image_id for q in questions])


@pytest.fixture(scope="module")
def texts(questions) -> list[str]:
    return [q.text for q in questions]


def test_ensemble_of_one_model_answers_as_the_model(data, regions, texts) -> None:
    model = predictor(data, 1)
    ensemble = Ensemble([model]).answer_batch([regions], texts, candidates=3)
    single = model.answer_batch(regions, texts, candidates=3)
    for found, expected in zip(ensemble, single, strict=True):
        assert [text for text, _ in found.candidates] == [text for text, _ in expected.candidates]
        assert [s for _, s in found.candidates] == pytest.approx([s for _, s in expected.candidates])
        np.testing.assert_allclose(found.attention, expected.attention, atol=1e-6)


def test_scores_and_attention_are_weighted_means(data, regions, texts) -> None:
    predictors = [predictor(data, 1), predictor(data, 2)]
    count = len(data.answers)
    ensemble = Ensemble(predictors, weights=[3.0, 1.0])
    answers = ensemble.answer_batch([regions, regions], texts, candidates=count)
    single = [p.answer_batch(regions, texts, candidates=count) for p in predictors]
    for answer, *parts in zip(answers, *single, strict=True):
        scores = [dict(part.candidates) for part in parts]
        for text, score in answer.candidates:
            assert score == pytest.approx((3 * scores[0][text] + scores[1][text]) / 4, abs=1e-6)
        np.testing.assert_allclose(
            answer.attention, (3 * parts[0].attention + parts[1].attention) / 4, atol=1e-6
        )
        assert answer.attention.sum() == pytest.approx(1, abs=1e-5)


def test_attention_is_that_of_the_first_model_where_regions_differ(data, regions, texts) -> None:
    predictors = [predictor(data, 1), predictor(data, 2)]
    other = regions._replace(boxes=regions.boxes.flip(1))
    answers = Ensemble(predictors).answer_batch([regions, other], texts)
    for answer, first in zip(answers, predictors[0].answer_batch(regions, texts), strict=True):
        np.testing.assert_array_equal(answer.attention, first.attention)


def test_answers_are_matched_by_text_and_not_by_index(data, regions, texts) -> None:
    first, second = predictor(data, 1), predictor(data, 2)
    answers = [
        Ensemble([first, other]).answer_batch([regions, regions], texts, candidates=4)
        for other in (second, with_shuffled_answers(second))
    ]
    for expected, found in zip(*answers, strict=True):
        assert [t for t, _ in found.candidates] == [t for t, _ in expected.candidates]
        assert [s for _, s in found.candidates] == pytest.approx([s for _, s in expected.candidates])


def test_models_of_other_answers_are_refused_with_the_first_difference(data, scenes) -> None:
    fewer = vqa_data(scenes, min_answer_count=3)
    assert 0 < len(fewer.answers) < len(data.answers)
    with pytest.raises(InputError, match=r"run2: its .* answers are not the .* of run1: it lacks '.*'"):
        Ensemble([predictor(data, 1), predictor(fewer, 2)])
    with pytest.raises(InputError, match=r"run1: its .* answers are not the .* of run2: it also has '.*'"):
        Ensemble([predictor(fewer, 2), predictor(data, 1)])


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -2.0], "12", 3])
def test_invalid_weights_are_rejected(weights, data) -> None:
    with pytest.raises(InputError, match="ensemble_weights=.*must be a (list of 2 numbers|number above 0)"):
        Ensemble([predictor(data, 1), predictor(data, 2)], weights=weights)


def test_images_may_have_other_ids_in_the_store(data, questions, regions) -> None:
    ensemble = Ensemble([predictor(data, 1), predictor(data, 2)])
    images = StoredImages(data.store, {f"image {q.image_id}.jpg": q.image_id for q in questions})
    batches = ensemble.read_regions([images, images], [f"image {q.image_id}.jpg" for q in questions])
    assert batches[0] is batches[1]  # read once for both models
    assert all(torch.equal(found, expected) for found, expected in zip(batches[0], regions, strict=True))


def test_most_attended_regions_come_first() -> None:
    boxes = np.arange(16, dtype=np.float32).reshape(4, 4)
    assert most_attended(np.array([0.1, 0.5, 0.15, 0.25], np.float32), boxes, 2) == [
        {"box": [4.0, 5.0, 6.0, 7.0], "weight": 0.5},
        {"box": [12.0, 13.0, 14.0, 15.0], "weight": 0.25},
    ]
    assert json.dumps(most_attended(np.ones(4, np.float32), boxes, 9))
