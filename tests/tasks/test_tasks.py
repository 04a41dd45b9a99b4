"""Trainings reproduce their first losses, can overfit a batch, and resume; predictors agree."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from bua.data.captions.datamodule import CaptionDataModule
from bua.data.vqa.files.read import read_questions
from bua.decode import BeamSearch
from bua.errors import InputError
from bua.inference.attention_maps import read_groundings, word_attention
from bua.inference.captioning import CaptionPredictor, generate
from bua.inference.ensemble import Ensemble
from bua.inference.vqa import VQAPredictor
from bua.tasks.captioning import CaptioningTask
from bua.text import EOS, PADDING, UNKNOWN
from bua.text.answers import AnswerVocabulary
from tests.helpers.data import caption_data, first_batch, vqa_data
from tests.helpers.parity import ROOT
from tests.helpers.tasks import StepLosses, cross_entropy_task, fit, vqa_task

GOLDEN = ROOT / "tests" / "golden" / "losses.json"


def no_detector():
    raise AssertionError("regions were given")


PREDICTOR_OPTIONS = {"make_detector": no_detector, "source": "run"}


@pytest.mark.parametrize("name", ["captioning", "answering"])
def test_first_ten_losses_are_reproduced(name: str, scenes) -> None:
    """Other numbers mean other behavior: explain them where you change the file."""
    data = caption_data(scenes) if name == "captioning" else vqa_data(scenes)
    losses = StepLosses()
    fit(
        cross_entropy_task(data) if name == "captioning" else vqa_task(data),
        data,
        steps=10,
        callbacks=[losses],
    )
    assert losses.values == pytest.approx(json.loads(GOLDEN.read_text())[name], rel=2e-3)


def test_untrained_captioner_has_the_loss_of_a_uniform_distribution(scenes) -> None:
    data = caption_data(scenes)
    batch = first_batch(data, "val")
    loss = float(cross_entropy_task(data).loss(batch).detach())
    assert loss == pytest.approx(math.log(len(data.vocabulary)), rel=0.1)


def test_loss_that_is_not_finite_stops_training(scenes) -> None:
    data = caption_data(scenes)
    task = cross_entropy_task(data)
    task._optimizer = lambda p: torch.optim.SGD(p, lr=1e30)
    with pytest.raises(InputError, match="the loss is nan at step 5: try a lower optimizer.lr"):
        fit(task, data, steps=60)  # 5 batches an epoch


@pytest.mark.parametrize("every_n_steps", [1, 3, 5, 20])
def test_checkpoints_hold_only_finite_weights(every_n_steps: int, scenes, tmp_path) -> None:
    data = caption_data(scenes)  # 5 batches an epoch
    task = cross_entropy_task(data)
    task._optimizer = lambda p: torch.optim.SGD(p, lr=1e30)
    saving = pl.callbacks.ModelCheckpoint(tmp_path, "step", every_n_train_steps=every_n_steps, save_top_k=-1)
    with pytest.raises(InputError, match=r"is not finite at step \d|the loss is nan at step \d"):
        fit(task, data, steps=60, callbacks=[saving], checkpointing=True)
    for path in tmp_path.iterdir():
        state = torch.load(path, weights_only=True)["state_dict"]
        assert all(bool(value.isfinite().all()) for value in state.values()), path


def test_weight_that_is_not_finite_is_reported_instead_of_saved(scenes, tmp_path) -> None:
    data = caption_data(scenes)
    task = cross_entropy_task(data)
    trainer = fit(task, data, steps=1)
    trainer.save_checkpoint(tmp_path / "good.ckpt")
    with torch.no_grad():
        task.model.logits.bias[0] = math.inf
    with pytest.raises(InputError, match=r"logits.bias is not finite at step 1: try a lower"):
        trainer.save_checkpoint(tmp_path / "broken.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["good.ckpt"]


def test_padding_and_unknown_words_are_not_targets(scenes) -> None:
    data = caption_data(scenes, min_count=40)
    task, batch = cross_entropy_task(data), first_batch(data, "val")
    assert (batch.words == UNKNOWN).any()
    logits = task.model(batch.regions, batch.words[..., :-1]).log_softmax(-1)
    total, count = 0.0, 0
    for b, n, t in (batch.words[..., 1:] >= 0).nonzero().tolist():
        word = int(batch.words[b, n, t + 1])
        if word not in (PADDING, UNKNOWN):
            total, count = total - float(logits[b, n, t, word]), count + 1
    assert float(task.loss(batch).detach()) == pytest.approx(total / count, rel=1e-4)


def test_captioner_can_overfit_a_batch(scenes) -> None:
    data = caption_data(scenes, batch_size=4, max_length=8)
    task, batch = cross_entropy_task(data), first_batch(data, "train")
    regions = batch.regions._replace(features=batch.regions.features * 4 - 2)
    one = batch._replace(words=batch.words[:, :1], regions=regions)
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-2)
    for _ in range(400):
        optimizer.zero_grad()
        loss = task.loss(one)
        loss.backward()
        optimizer.step()
        if loss.item() < 0.1:
            break
    found = generate([task.model.eval()], [one.regions], BeamSearch(3, 18))
    captions = [data.vocabulary.decode(words) for words in found.words[:, 0].tolist()]
    assert captions == [data.vocabulary.decode(words) for words in one.words[:, 0].tolist()]


def test_vqa_model_can_overfit_a_batch(scenes) -> None:
    data = vqa_data(scenes, batch_size=8)
    task, batch = vqa_task(data), first_batch(data, "train")
    optimizer = task.configure_optimizers()
    for _ in range(400):
        optimizer.zero_grad()
        loss, logits = task.loss(batch)
        scores = batch.targets.gather(1, logits.argmax(1, keepdim=True)).squeeze(1)
        if scores.equal(batch.targets.amax(1)):
            return
        loss.backward()
        optimizer.step()
    pytest.fail("the best answers of the batch were not learned")


class SaveAtStep(pl.Callback):
    """Saves a checkpoint after some steps, as if the run had been interrupted there."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def weights(task: CaptioningTask) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in task.state_dict().items()}


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("step", [3, 5, 7])
def test_resumed_training_ends_with_the_same_weights(step: int, num_workers: int, scenes, tmp_path) -> None:
    """An epoch has 5 batches: step 5 ends the first, steps 3 and 7 are within an epoch."""
    first = cross_entropy_task(caption_data(scenes), dropout=0.3)
    save = SaveAtStep(step, tmp_path / "c.ckpt")
    fit(first, caption_data(scenes, num_workers=num_workers), epochs=2, callbacks=[save])
    second = cross_entropy_task(caption_data(scenes), dropout=0.3)
    losses = StepLosses()
    trainer = fit(
        second,
        caption_data(scenes, num_workers=num_workers),
        epochs=2,
        callbacks=[losses],
        ckpt_path=tmp_path / "c.ckpt",
    )
    assert trainer.global_step == 10
    assert len(losses.values) == 10 - step
    for name, value in weights(first).items():
        torch.testing.assert_close(value, weights(second)[name])


def test_checkpoints_hold_plain_values_and_load_safely(scenes, tmp_path) -> None:
    data = caption_data(scenes)
    fit(cross_entropy_task(data), data, steps=1, callbacks=[SaveAtStep(1, tmp_path / "c.ckpt")])
    content = torch.load(tmp_path / "c.ckpt", weights_only=True)
    assert content["bua"]["vocabulary"] == data.vocabulary.to_dict()
    assert content["bua"]["features"]["detector"] == "random"


def caption_predictor(scenes) -> tuple[CaptionPredictor, CaptionDataModule]:
    data = caption_data(scenes)
    return CaptionPredictor(cross_entropy_task(data).model, data.record, **PREDICTOR_OPTIONS), data


def vqa_predictor(data, **changes) -> VQAPredictor:
    return VQAPredictor(vqa_task(data).model, {**data.record, **changes}, **PREDICTOR_OPTIONS)


def test_captions_of_single_images_and_of_batches_agree(scenes) -> None:
    predictor, data = caption_predictor(scenes)
    ids = data.val_set.image_ids
    regions = predictor.region_input.load(data.store, ids)
    batch = predictor.caption_batch(regions, decoder=BeamSearch(3, 9))
    single = [predictor.caption(data.store[i], decoder=BeamSearch(3, 9)) for i in ids]
    assert [[c.text for c in one.candidates] for one in single] == [[c.text for c in one] for one in batch]
    for caption in single:
        assert [c.log_prob for c in caption.candidates] == sorted(
            (c.log_prob for c in caption.candidates), reverse=True
        )
        assert caption.attention.shape == (len(caption.words), len(caption.regions))
        assert caption.attention.sum(1) == pytest.approx(1, abs=1e-5)
        assert caption.log_prob < 0


def test_answers_to_single_questions_and_to_batches_agree(scenes) -> None:
    data = vqa_data(scenes)
    predictor = vqa_predictor(data)
    questions = read_questions(scenes / "questions_val.json")[:9]
    regions = predictor.region_input.load(data.store, [q.image_id for q in questions])
    batch = predictor.answer_batch(regions, [q.text for q in questions])
    single = [predictor.ask(data.store[q.image_id], q.text, candidates=3) for q in questions]
    assert [a.text for a in single] == [a.text for a in batch]
    for answer in single:
        assert answer.candidates[0] == (answer.text, answer.score)
        assert [s for _, s in answer.candidates] == sorted((s for _, s in answer.candidates), reverse=True)
        assert answer.attention.sum() == pytest.approx(1, abs=1e-5)


def test_captioner_refuses_questions(scenes) -> None:
    predictor, data = caption_predictor(scenes)
    with pytest.raises(InputError, match="run: this model captions; one that answers questions is needed"):
        predictor.ask(data.store[data.val_set.image_ids[0]], "what?")


def test_answers_are_given_in_their_surface_forms(scenes) -> None:
    data = vqa_data(scenes)
    answers = data.answers.answers
    surface_forms = [answer.upper() for answer in answers]
    assert len(set(surface_forms) - set(answers)) > 5
    predictor = vqa_predictor(data, answers=AnswerVocabulary(answers, surface_forms).to_dict())
    questions = read_questions(scenes / "questions_val.json")[:5]
    regions = predictor.region_input.load(data.store, [q.image_id for q in questions])
    texts = [q.text for q in questions]
    batch = predictor.answer_batch(regions, texts, candidates=2)
    assert {text for answer in batch for text, _ in answer.candidates} <= set(surface_forms)
    ensemble = Ensemble([predictor]).answer_batch([regions], texts)
    assert [a.text for a in ensemble] == [a.text for a in batch]
    assert predictor.ask(data.store[questions[0].image_id], texts[0]).text == batch[0].text


def test_questions_may_have_unknown_words(scenes) -> None:
    data = vqa_data(scenes)
    predictor = vqa_predictor(data)
    regions = data.store[data.store.image_ids[0]]
    assert predictor.ask(regions, "Wozu zebra?").text in data.answers.surface_forms
    with pytest.raises(InputError, match="question is empty"):
        predictor.ask(regions, "  ")


def test_features_of_another_detector_are_refused(scenes) -> None:
    predictor, _ = caption_predictor(scenes)
    other = {**predictor.record["features"], "weights_sha256": "f" * 64}
    own = predictor.record["features"]["weights_sha256"]
    with pytest.raises(InputError, match=f"g.h5: .*weights_sha256 is {'f' * 64}, not {own}"):
        predictor.check_features(other, "g.h5")


def test_invalid_regions_are_reported(scenes) -> None:
    captioner, data = caption_predictor(scenes)
    vqa_model = vqa_predictor(vqa_data(scenes))
    good = data.store[data.store.image_ids[0]]
    broken = replace(good, features=np.full_like(good.features, np.nan))
    none = replace(good, features=good.features[:0], boxes=good.boxes[:0])
    for invalid, message in ((broken, "features are not all finite"), (none, "has no regions; at least one")):
        for predict in (captioner.caption, lambda regions: vqa_model.ask(regions, "what?")):
            with pytest.raises(InputError, match=f"image that was given.* {message}"):
                predict(invalid)


def test_word_attention_follows_the_words_of_the_references(scenes) -> None:
    predictor, data = caption_predictor(scenes)
    named = read_groundings(scenes / "groundings_val.json")
    attended = list(word_attention(predictor, data.store, data.val_set.file, named))
    assert len(attended) == sum(len(words) for image in named.values() for words in image)
    for attention, boxes, object_boxes in attended:
        assert attention.shape == (len(boxes),)
        assert attention.sum() == pytest.approx(1, abs=1e-5)
        assert object_boxes.shape[1] == 4


def test_captions_end_or_have_the_maximal_length(scenes) -> None:
    predictor, data = caption_predictor(scenes)
    batch = first_batch(data, "val")
    found = generate([predictor.model], [batch.regions], BeamSearch(2, 6))
    for words in found.words[:, 0].tolist():
        assert EOS in words or len([w for w in words if w != PADDING]) == 6
        assert UNKNOWN not in words
