"""Cross-entropy against sums written out: smoothing, normalisers, unknown words, own words."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.tasks.cross_entropy import ScheduledSampling, sampled_forward, word_losses
from bua.tasks.losses import PER, LossReduction
from bua.text import PADDING, UNKNOWN
from tests.helpers.data import caption_data
from tests.tasks.test_tasks import captioning


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), smoothing=st.sampled_from([0.0, 0.1, 0.2, 0.9]), size=st.integers(2, 9))
def test_smoothing_spreads_the_target_over_all_other_words(seed, smoothing, size) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, size, generator=generator) * 3
    targets = torch.randint(0, size, (4,), generator=generator)
    found = word_losses(logits, targets, smoothing)
    for row, target, loss in zip(logits.log_softmax(1), targets.tolist(), found.tolist(), strict=True):
        wanted = [1 - smoothing if w == target else smoothing / (size - 1) for w in range(size)]
        assert loss == pytest.approx(-sum(q * float(p) for q, p in zip(wanted, row, strict=True)), abs=1e-4)


values = st.lists(st.lists(st.floats(-5, 5), max_size=4), min_size=1, max_size=4)


@settings(max_examples=100, deadline=None)
@given(captions=values, per=st.sampled_from(PER), scale=st.sampled_from([1.0, 20.0]))
def test_a_loss_is_divided_by_what_it_says(captions, per, scale) -> None:
    counted = torch.zeros(1, len(captions), 5, dtype=torch.bool)
    numbers = torch.full((1, len(captions), 5), 77.0)
    for n, caption in enumerate(captions):
        counted[0, n, : len(caption)] = True
        numbers[0, n, : len(caption)] = torch.tensor(caption)
    real = [c for c in captions if c]
    if per == "word":
        expected = sum(map(sum, real)) / max(sum(map(len, real)), 1)
    elif per == "caption":
        expected = sum(map(sum, real)) / max(len(real), 1)
    else:
        expected = sum(sum(c) / len(c) for c in real) / max(len(real), 1)
    assert float(LossReduction(per, scale)(numbers, counted)) == pytest.approx(scale * expected, abs=1e-3)


def test_unknown_normalisers_and_smoothing_are_refused(scenes) -> None:
    with pytest.raises(ValueError, match="word, caption, caption_mean"):
        LossReduction("batch")
    for scale in (0, -1, float("nan"), "abc"):
        with pytest.raises(ValueError, match="a number above 0"):
            LossReduction(scale=scale)
    with pytest.raises(ValueError, match="label_smoothing is 1"):
        captioning(caption_data(scenes), label_smoothing=1.0)


def test_unknown_words_are_targets_where_they_are_not_ignored(scenes) -> None:
    data = caption_data(scenes, min_count=40)
    batch = next(iter(data.val_dataloader()))
    targets = batch.words[..., 1:]
    task = captioning(data, ignore_unknown=False)
    losses = -task.model(batch.regions, batch.words[..., :-1]).log_softmax(-1).gather(3, targets.unsqueeze(3))
    real = targets != PADDING
    assert (targets == UNKNOWN).any()
    assert float(task.loss(batch)) == pytest.approx(float(losses.squeeze(3)[real].mean()), rel=1e-5)
    assert float(task.loss(batch)) != pytest.approx(float(captioning(data).loss(batch)), rel=1e-3)


@torch.no_grad()
def test_training_smooths_labels_and_validation_does_not(scenes) -> None:
    data = caption_data(scenes)
    batch, task = next(iter(data.val_dataloader())), captioning(data, label_smoothing=0.3)
    told = {}
    task.log = lambda name, value, **_: told.update({name: float(value)})
    targets = batch.words[..., 1:]
    log_probs = task.model(batch.regions, batch.words[..., :-1]).log_softmax(-1)
    losses = []
    for row, target in zip(log_probs.flatten(0, 2), targets.flatten().tolist(), strict=True):
        if target not in (PADDING, UNKNOWN):
            others = (row.sum() - row[target]) * 0.3 / (len(row) - 1)
            losses.append(-float(0.7 * row[target] + others))
    smooth = float(task.training_step(batch, 0))
    assert smooth == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    assert told == {"train/loss": smooth}
    assert float(task.loss(batch)) == pytest.approx(float(captioning(data).loss(batch)))
    assert float(task.loss(batch)) != pytest.approx(smooth, rel=1e-3)


def test_scheduled_sampling_grows_to_its_most_as_published() -> None:
    """0.05 more every 5 epochs up to 0.25, as self-critical.pytorch has it."""
    found = [ScheduledSampling(most=0.25).at(epoch) for epoch in range(0, 35, 5)]
    assert found == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.25])
    assert ScheduledSampling(most=0.25).at(4) == ScheduledSampling(most=0.25, start=10).at(14) == 0
    assert ScheduledSampling().at(100) == 0
    with pytest.raises(ValueError, match="at most 1"):
        ScheduledSampling(most=2)


def test_a_model_that_reads_no_own_words_is_the_teacher_forced_one(scenes) -> None:
    data = caption_data(scenes)
    batch, model = next(iter(data.val_dataloader())), captioning(data).model.eval()
    words = batch.words[..., :-1]
    torch.testing.assert_close(
        sampled_forward(model, batch.regions, words, 0.0), model(batch.regions, words), atol=1e-5, rtol=1e-4
    )


@torch.no_grad()
def test_training_reads_own_words_from_the_epoch_that_says_so(scenes, monkeypatch) -> None:
    data = caption_data(scenes)
    batch = next(iter(data.val_dataloader()))
    task = captioning(data, sampling=ScheduledSampling(most=1.0, step=1.0, every=2), label_smoothing=0.2)
    told = {}
    task.log = lambda name, value, **_: told.update({name: float(value)})
    forced = float(task.training_step(batch, 0))
    assert told == {"train/loss": forced}
    monkeypatch.setattr(type(task), "current_epoch", 2)
    torch.manual_seed(0)
    own = float(task.training_step(batch, 0))
    assert told == {"train/own_words": 1, "train/loss": own}
    words, targets = batch.words[..., :-1], batch.words[..., 1:]
    real = (targets != PADDING) & (targets != UNKNOWN)
    torch.manual_seed(0)
    logits = sampled_forward(task.model, batch.regions, words, 1.0)[real]
    assert own == pytest.approx(float(word_losses(logits, targets[real], 0.2).mean()), rel=1e-4)
    assert own != pytest.approx(forced, rel=1e-4)


@pytest.mark.parametrize("share", [0.25, 0.6])
@torch.no_grad()
def test_so_large_a_share_of_the_words_read_are_the_models_own(share: float, scenes) -> None:
    data = caption_data(scenes)
    batch, model = next(iter(data.val_dataloader())), captioning(data).model.eval()
    words = torch.full((len(batch.image_id), 60, 6), UNKNOWN)  # what no model of these says
    model.logits.bias[UNKNOWN] = -1e4
    read = []
    make_step = model.make_step

    def noted(memory):
        step = make_step(memory)
        return lambda said, state: (read.append(said), step(said, state))[1]

    model.make_step = noted
    torch.manual_seed(0)
    sampled_forward(model, batch.regions, words, share)
    own = torch.stack(read[1:], 2) != UNKNOWN
    assert read[0].eq(UNKNOWN).all()  # the first word is given
    assert float(own.float().mean()) == pytest.approx(
        share, abs=4 * (share * (1 - share) / own.numel()) ** 0.5
    )


@torch.no_grad()
def test_own_words_are_drawn_from_what_the_model_said_before(scenes) -> None:
    data = caption_data(scenes)
    batch, model = next(iter(data.val_dataloader())), captioning(data).model.eval()
    model.logits.weight *= 400  # so sure that what is drawn is the likeliest word
    words = batch.words[:, :1, :6].clamp(min=4)
    found = sampled_forward(model, batch.regions, words, 1.0)
    read = torch.cat([words[..., :1], found.argmax(-1)[..., :-1]], 2)
    torch.testing.assert_close(found, model(batch.regions, read), atol=1e-3, rtol=1e-3)
    assert (read != words).any()
