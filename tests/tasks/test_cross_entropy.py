"""Cross-entropy equals explicit sums: label smoothing, reductions, unknown words, scheduled sampling."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.tasks.captioning import PER_WORDS, LossReduction, ScheduledSampling, sampled_forward, word_losses
from bua.text import PADDING, UNKNOWN
from tests.helpers.data import caption_data, first_batch
from tests.helpers.tasks import cross_entropy_task


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), smoothing=st.sampled_from([0.0, 0.1, 0.2, 0.9]), size=st.integers(2, 9))
def test_smoothing_spreads_the_target_over_all_other_words(seed, smoothing, size) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, size, generator=generator) * 3
    targets = torch.randint(0, size, (4,), generator=generator)
    losses = word_losses(logits, targets, smoothing)
    for row, target, loss in zip(logits.log_softmax(1), targets.tolist(), losses.tolist(), strict=True):
        target_probs = [1 - smoothing if w == target else smoothing / (size - 1) for w in range(size)]
        assert loss == pytest.approx(
            -sum(q * float(p) for q, p in zip(target_probs, row, strict=True)), abs=1e-4
        )


values = st.lists(st.lists(st.floats(-5, 5), max_size=4), min_size=1, max_size=4)


@settings(max_examples=100, deadline=None)
@given(captions=values, per=st.sampled_from(PER_WORDS), scale=st.sampled_from([1.0, 20.0]))
def test_reductions_divide_by_their_unit(captions, per, scale) -> None:
    counted = torch.zeros(1, len(captions), 5, dtype=torch.bool)
    losses = torch.full((1, len(captions), 5), 77.0)
    for n, caption in enumerate(captions):
        counted[0, n, : len(caption)] = True
        losses[0, n, : len(caption)] = torch.tensor(caption)
    non_empty = [c for c in captions if c]
    if per == "word":
        expected = sum(map(sum, non_empty)) / max(sum(map(len, non_empty)), 1)
    elif per == "caption":
        expected = sum(map(sum, non_empty)) / max(len(non_empty), 1)
    else:
        expected = sum(sum(c) / len(c) for c in non_empty) / max(len(non_empty), 1)
    assert float(LossReduction(per, scale)(losses, counted)) == pytest.approx(scale * expected, abs=1e-3)


def test_invalid_reductions_and_smoothing_are_rejected(scenes) -> None:
    with pytest.raises(ValueError, match="per must be one of word, caption, caption_mean, got 'batch'"):
        LossReduction("batch")
    for scale in (0, -1, float("nan"), "abc"):
        with pytest.raises(ValueError, match="reduction.scale must be a number above 0"):
            LossReduction(scale=scale)
    with pytest.raises(
        ValueError, match="label_smoothing must be a number of at least 0 and below 1, got 1.0"
    ):
        cross_entropy_task(caption_data(scenes), label_smoothing=1.0)


def test_unknown_words_are_targets_unless_ignored(scenes) -> None:
    data = caption_data(scenes, min_count=40)
    batch = first_batch(data, "val")
    targets = batch.words[..., 1:]
    task = cross_entropy_task(data, ignore_unknown=False)
    losses = -task.model(batch.regions, batch.words[..., :-1]).log_softmax(-1).gather(3, targets.unsqueeze(3))
    real = targets != PADDING
    assert (targets == UNKNOWN).any()
    assert float(task.loss(batch)) == pytest.approx(float(losses.squeeze(3)[real].mean()), rel=1e-5)
    assert float(task.loss(batch)) != pytest.approx(float(cross_entropy_task(data).loss(batch)), rel=1e-3)


@torch.no_grad()
def test_labels_are_smoothed_in_training_only(scenes) -> None:
    data = caption_data(scenes)
    batch, task = first_batch(data, "val"), cross_entropy_task(data, label_smoothing=0.3)
    logged = {}
    task.log = lambda name, value, **_: logged.update({name: float(value)})
    targets = batch.words[..., 1:]
    log_probs = task.model(batch.regions, batch.words[..., :-1]).log_softmax(-1)
    losses = []
    for row, target in zip(log_probs.flatten(0, 2), targets.flatten().tolist(), strict=True):
        if target not in (PADDING, UNKNOWN):
            others = (row.sum() - row[target]) * 0.3 / (len(row) - 1)
            losses.append(-float(0.7 * row[target] + others))
    smooth = float(task.training_step(batch, 0))
    assert smooth == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    assert logged == {"train/loss": smooth}
    assert float(task.loss(batch)) == pytest.approx(float(cross_entropy_task(data).loss(batch)))
    assert float(task.loss(batch)) != pytest.approx(smooth, rel=1e-3)


def test_scheduled_sampling_grows_to_its_maximum_as_published() -> None:
    """self-critical.pytorch adds 0.05 every 5 epochs, up to 0.25."""
    probs = [ScheduledSampling(max_prob=0.25).prob(epoch) for epoch in range(0, 35, 5)]
    assert probs == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.25])
    assert (
        ScheduledSampling(max_prob=0.25).prob(4)
        == ScheduledSampling(max_prob=0.25, start_epoch=10).prob(14)
        == 0
    )
    assert ScheduledSampling().prob(100) == 0
    with pytest.raises(ValueError, match="max_prob must be a number of at least 0 and at most 1, got 2"):
        ScheduledSampling(max_prob=2)


def test_sampling_probability_0_is_teacher_forcing(scenes) -> None:
    data = caption_data(scenes)
    batch, model = first_batch(data, "val"), cross_entropy_task(data).model.eval()
    words = batch.words[..., :-1]
    torch.testing.assert_close(
        sampled_forward(model, batch.regions, words, 0.0), model(batch.regions, words), atol=1e-5, rtol=1e-4
    )


@torch.no_grad()
def test_own_words_are_read_from_the_scheduled_epoch(scenes, monkeypatch) -> None:
    data = caption_data(scenes)
    batch = first_batch(data, "val")
    task = cross_entropy_task(
        data, sampling=ScheduledSampling(max_prob=1.0, increment=1.0, every_n_epochs=2), label_smoothing=0.2
    )
    logged = {}
    task.log = lambda name, value, **_: logged.update({name: float(value)})
    forced = float(task.training_step(batch, 0))
    assert logged == {"train/loss": forced}
    monkeypatch.setattr(type(task), "current_epoch", 2)
    torch.manual_seed(0)
    own = float(task.training_step(batch, 0))
    assert logged == {"train/sampling_prob": 1, "train/loss": own}
    words, targets = batch.words[..., :-1], batch.words[..., 1:]
    real = (targets != PADDING) & (targets != UNKNOWN)
    torch.manual_seed(0)
    logits = sampled_forward(task.model, batch.regions, words, 1.0)[real]
    assert own == pytest.approx(float(word_losses(logits, targets[real], 0.2).mean()), rel=1e-4)
    assert own != pytest.approx(forced, rel=1e-4)


@pytest.mark.parametrize("prob", [0.25, 0.6])
@torch.no_grad()
def test_own_words_are_read_with_the_given_probability(prob: float, scenes) -> None:
    data = caption_data(scenes)
    batch, model = first_batch(data, "val"), cross_entropy_task(data).model.eval()
    words = torch.full((len(batch.image_id), 60, 6), UNKNOWN)  # which the model never generates
    model.logits.bias[UNKNOWN] = -1e4
    read = []
    make_step = model.make_step

    def recording_make_step(memory):
        step = make_step(memory)
        return lambda last, state: (read.append(last), step(last, state))[1]

    model.make_step = recording_make_step
    torch.manual_seed(0)
    sampled_forward(model, batch.regions, words, prob)
    own = torch.stack(read[1:], 2) != UNKNOWN
    assert read[0].eq(UNKNOWN).all()  # the first word is BOS
    assert float(own.float().mean()) == pytest.approx(prob, abs=4 * (prob * (1 - prob) / own.numel()) ** 0.5)


@torch.no_grad()
def test_own_words_are_drawn_from_the_previous_logits(scenes) -> None:
    data = caption_data(scenes)
    batch, model = first_batch(data, "val"), cross_entropy_task(data).model.eval()
    model.logits.weight *= 400  # so confident that it draws the most probable word
    words = batch.words[:, :1, :6].clamp(min=4)
    logits = sampled_forward(model, batch.regions, words, 1.0)
    read = torch.cat([words[..., :1], logits.argmax(-1)[..., :-1]], 2)
    torch.testing.assert_close(logits, model(batch.regions, read), atol=1e-3, rtol=1e-3)
    assert (read != words).any()
