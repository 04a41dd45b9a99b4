"""Training: first losses are as recorded, a batch can be learnt, an interrupted run ends the same."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from bua.data.vqa.files.read import read_questions
from bua.decode import BeamSearch, greedy
from bua.errors import InputError
from bua.inference.attention_maps import read_groundings, word_attention
from bua.inference.ensemble import Member, VQAEnsemble
from bua.inference.generate import generate
from bua.inference.predictor import Predictor
from bua.models.attention import ProductAttention
from bua.models.captioners.updown import UpDownCaptioner
from bua.models.vqa.updown import UpDownVQAModel
from bua.tasks.captioning import CaptioningTask
from bua.tasks.cross_entropy import CaptionCrossEntropyTask, ScheduledSampling
from bua.tasks.losses import LossReduction
from bua.tasks.vqa import VQATask
from bua.text import EOS, PADDING, UNKNOWN
from bua.text.answers import AnswerVocabulary
from tests.helpers.data import caption_data, vqa_data
from tests.helpers.parity import ROOT

GOLDEN = ROOT / "tests" / "golden" / "losses.json"


def captioning(data, dropout: float = 0.0, **more) -> CaptionCrossEntropyTask:
    torch.manual_seed(0)
    model = UpDownCaptioner(**data.sizes, word_size=16, hidden_size=24, attention_size=12, dropout=dropout)
    options = {
        "normaliser": LossReduction(),
        "label_smoothing": 0.0,
        "ignore_unknown": True,
        "sampling": ScheduledSampling(),
    }
    return CaptionCrossEntropyTask(
        model,
        **data.parts,
        **(options | more),
        decoder=greedy(12),
        optimizer=lambda p: torch.optim.Adam(p, lr=5e-3),
        scheduler=None,
        record=data.record,
    )


def answering(data) -> VQATask:
    torch.manual_seed(0)
    attention = ProductAttention(
        feature_size=data.sizes["feature_size"], question_size=24, hidden_size=24, dropout=0.0
    )
    model = UpDownVQAModel(**data.sizes, word_size=16, hidden_size=24, dropout=0.0, attention=attention)
    return VQATask(
        model,
        **data.parts,
        optimizer=lambda p: torch.optim.Adamax(p, lr=5e-3),
        scheduler=None,
        record=data.record,
    )


class Losses(pl.Callback):
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.values.append(float(outputs["loss"]))


def fit(task, data, *, steps: int = -1, epochs: int = 100, callbacks=(), saves=False, **more) -> pl.Trainer:
    trainer = pl.Trainer(
        max_steps=steps,
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=saves,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        use_distributed_sampler=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
    )
    trainer.fit(task, data, weights_only=True, **more)
    return trainer


@pytest.mark.parametrize("name", ["captioning", "answering"])
def test_the_first_ten_losses_are_golden(name: str, scenes) -> None:
    """A change of these numbers is a change of behaviour: say why where you change the file."""
    data = caption_data(scenes) if name == "captioning" else vqa_data(scenes)
    losses = Losses()
    fit(captioning(data) if name == "captioning" else answering(data), data, steps=10, callbacks=[losses])
    assert losses.values == pytest.approx(json.loads(GOLDEN.read_text())[name], rel=2e-3)


def test_an_untrained_captioner_is_as_unsure_as_its_vocabulary_is_large(scenes) -> None:
    data = caption_data(scenes)
    batch = next(iter(data.val_dataloader()))
    loss = float(captioning(data).loss(batch).detach())
    assert loss == pytest.approx(math.log(len(data.vocabulary)), rel=0.1)


def test_a_loss_that_is_no_number_ends_the_training_in_one_line(scenes) -> None:
    data = caption_data(scenes)
    task = captioning(data)
    task._optimizer = lambda p: torch.optim.SGD(p, lr=1e30)
    with pytest.raises(InputError, match="the loss is nan at step 5: a lower optimizer.lr"):
        fit(task, data, steps=60)  # 5 batches an epoch


@pytest.mark.parametrize("every", [1, 3, 5, 20])
def test_no_checkpoint_holds_weights_that_are_no_numbers(every: int, scenes, tmp_path) -> None:
    data = caption_data(scenes)  # 5 batches an epoch
    task = captioning(data)
    task._optimizer = lambda p: torch.optim.SGD(p, lr=1e30)
    saving = pl.callbacks.ModelCheckpoint(tmp_path, "step", every_n_train_steps=every, save_top_k=-1)
    with pytest.raises(InputError, match=r"no numbers at step \d|the loss is nan at step \d"):
        fit(task, data, steps=60, callbacks=[saving], saves=True)
    for path in tmp_path.iterdir():
        state = torch.load(path, weights_only=True)["state_dict"]
        assert all(bool(value.isfinite().all()) for value in state.values()), path


def test_a_weight_that_is_no_number_is_named_instead_of_saved(scenes, tmp_path) -> None:
    data = caption_data(scenes)
    task = captioning(data)
    trainer = fit(task, data, steps=1)
    trainer.save_checkpoint(tmp_path / "sound.ckpt")
    with torch.no_grad():
        task.model.logits.bias[0] = math.inf
    with pytest.raises(InputError, match=r"logits.bias holds values that are no numbers at step 1: a lower"):
        trainer.save_checkpoint(tmp_path / "broken.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["sound.ckpt"]


def test_padding_and_unknown_words_are_no_targets(scenes) -> None:
    data = caption_data(scenes, min_count=40)
    task, batch = captioning(data), next(iter(data.val_dataloader()))
    assert (batch.words == UNKNOWN).any()
    logits = task.model(batch.regions, batch.words[..., :-1]).log_softmax(-1)
    total, count = 0.0, 0
    for b, n, t in (batch.words[..., 1:] >= 0).nonzero().tolist():
        word = int(batch.words[b, n, t + 1])
        if word not in (PADDING, UNKNOWN):
            total, count = total - float(logits[b, n, t, word]), count + 1
    assert float(task.loss(batch).detach()) == pytest.approx(total / count, rel=1e-4)


def test_a_caption_can_be_learnt_by_heart(scenes) -> None:
    data = caption_data(scenes, batch_size=4)
    task, batch = captioning(data), next(iter(data.train_dataloader()))
    regions = batch.regions._replace(features=batch.regions.features * 4 - 2)
    one = batch._replace(words=batch.words[:, :1], regions=regions)
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-2)
    for _ in range(400):
        optimizer.zero_grad()
        task.loss(one).backward()
        optimizer.step()
    found = generate([task.model.eval()], [one.regions], BeamSearch(3, 18))
    said = [data.vocabulary.decode(words) for words in found.words[:, 0].tolist()]
    assert said == [data.vocabulary.decode(words) for words in one.words[:, 0].tolist()]


def test_answers_can_be_learnt_by_heart(scenes) -> None:
    data = vqa_data(scenes, batch_size=8)
    task, batch = answering(data), next(iter(data.train_dataloader()))
    optimizer = task.configure_optimizers()
    for _ in range(400):
        optimizer.zero_grad()
        task.loss(batch)[0].backward()
        optimizer.step()
    _, logits = task.loss(batch)
    assert batch.targets.gather(1, logits.argmax(1, keepdim=True)).min() == batch.targets.amax(1).min()


class Stop(pl.Callback):
    """Saves a checkpoint after some steps, as if the run had been stopped there."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def weights(task: CaptioningTask) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in task.state_dict().items()}


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("step", [3, 5, 7])
def test_a_run_resumed_in_the_middle_of_an_epoch_ends_the_same(
    step: int, num_workers: int, scenes, tmp_path
) -> None:
    """5 batches an epoch: step 5 is the end of the first, 3 and 7 lie within."""
    first = captioning(caption_data(scenes), dropout=0.3)
    stop = Stop(step, tmp_path / "c.ckpt")
    fit(first, caption_data(scenes, num_workers=num_workers), epochs=2, callbacks=[stop])
    second = captioning(caption_data(scenes), dropout=0.3)
    losses = Losses()
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
    fit(captioning(data), data, steps=1, callbacks=[Stop(1, tmp_path / "c.ckpt")])
    content = torch.load(tmp_path / "c.ckpt", weights_only=True)
    assert content["bua"]["vocabulary"] == data.vocabulary.to_dict()
    assert content["bua"]["features"]["detector"] == "random"


def trained(scenes) -> tuple[Predictor, object]:
    data = caption_data(scenes)
    task = captioning(data)

    def no_detector():
        raise AssertionError("regions were given")

    return Predictor(task.model, data.record, detector=no_detector, source="run"), data


def test_captions_of_regions_and_of_a_store_agree(scenes) -> None:
    model, data = trained(scenes)
    ids = data.val_set.image_ids
    together = model.caption_store(data.store, ids, decoder=BeamSearch(3, 9))
    alone = [model.caption(data.store[i], decoder=BeamSearch(3, 9)) for i in ids]
    assert [[c.text for c in one.candidates] for one in alone] == [[c.text for c in one] for one in together]
    for caption in alone:
        assert [c.log_prob for c in caption.candidates] == sorted(
            (c.log_prob for c in caption.candidates), reverse=True
        )
        assert caption.weights.shape == (len(caption.words), len(caption.regions))
        assert caption.weights.sum(1) == pytest.approx(1, abs=1e-5)
        assert caption.log_prob < 0


def test_answers_of_regions_and_of_a_store_agree(scenes) -> None:
    data = vqa_data(scenes)
    model = Predictor(answering(data).model, data.record, detector=lambda: None, source="run")
    asked = read_questions(scenes / "questions_val.json")[:9]
    together = model.answer_store(data.store, [q.image_id for q in asked], [q.text for q in asked])
    alone = [model.ask(data.store[q.image_id], q.text, candidates=3) for q in asked]
    assert [a.text for a in alone] == [a.text for a in together]
    for answer in alone:
        assert answer.candidates[0] == (answer.text, answer.score)
        assert [s for _, s in answer.candidates] == sorted((s for _, s in answer.candidates), reverse=True)
        assert answer.weights.sum() == pytest.approx(1, abs=1e-5)


def test_the_wrong_kind_of_model_says_so(scenes) -> None:
    model, data = trained(scenes)
    with pytest.raises(InputError, match="run: this model captions; another is needed"):
        model.ask(data.store[data.val_set.image_ids[0]], "what?")


def test_answers_are_given_as_they_were_most_often_written(scenes) -> None:
    data = vqa_data(scenes)
    listed = data.answers.answers
    written = [answer.upper() for answer in listed]
    assert len(set(written) - set(listed)) > 5
    record = {**data.record, "answers": AnswerVocabulary(listed, written).to_dict()}
    one = Member(
        Predictor(answering(data).model, record, detector=lambda: None, source="run"), data.store, {}, 1
    )
    asked = read_questions(scenes / "questions_val.json")[:5]
    about = [q.image_id for q in asked], [q.text for q in asked]
    found = one.trained.answer_store(data.store, *about, candidates=2)
    assert {text for answer in found for text, _ in answer.candidates} <= set(written)
    assert [a.text for a in VQAEnsemble([one]).answer(*about)] == [a.text for a in found]
    assert one.trained.ask(data.store[asked[0].image_id], asked[0].text).text == found[0].text


def test_words_that_were_never_seen_can_be_asked(scenes) -> None:
    data = vqa_data(scenes)
    model = Predictor(answering(data).model, data.record, detector=lambda: None, source="run")
    regions = data.store[data.store.image_ids[0]]
    assert model.ask(regions, "Wozu zebra?").text in data.answers.surface_forms
    with pytest.raises(InputError, match="question is empty"):
        model.ask(regions, "  ")


def test_features_of_another_detector_are_refused_with_both(scenes) -> None:
    model, _ = trained(scenes)
    other = {**model.record["features"], "weights_sha256": "f" * 64}
    with pytest.raises(InputError, match=f"g.h5: .*weights_sha256 is {'f' * 64}, not"):
        model.check_features(other, "g.h5")


def test_regions_that_cannot_be_looked_at_are_one_line(scenes) -> None:
    captioner, data = trained(scenes)
    questions = vqa_data(scenes)
    asker = Predictor(answering(questions).model, questions.record, detector=lambda: None, source="run")
    good = data.store[data.store.image_ids[0]]
    broken = replace(good, features=np.full_like(good.features, np.nan))
    none = replace(good, features=good.features[:0], boxes=good.boxes[:0])
    for wrong, line in ((broken, "features are not all finite"), (none, "has no regions; at least one")):
        for look in (captioner.caption, lambda one: asker.ask(one, "what?")):
            with pytest.raises(InputError, match=f"image that was given.* {line}"):
                look(wrong)


def test_looks_follow_the_words_of_the_references(scenes) -> None:
    model, data = trained(scenes)
    file = data.val_set.file
    named = read_groundings(scenes / "groundings_val.json")
    found = list(word_attention(model, data.store, file, named))
    assert len(found) == sum(len(words) for image in named.values() for words in image)
    for attention, boxes, wanted in found:
        assert attention.shape == (len(boxes),)
        assert attention.sum() == pytest.approx(1, abs=1e-5)
        assert wanted.shape[1] == 4


def test_every_caption_ends_or_is_as_long_as_may_be(scenes) -> None:
    model, data = trained(scenes)
    batch = next(iter(data.val_dataloader()))
    found = generate([model.model], [batch.regions], BeamSearch(2, 6))
    for words in found.words[:, 0].tolist():
        assert EOS in words or len([w for w in words if w != PADDING]) == 6
        assert UNKNOWN not in words
