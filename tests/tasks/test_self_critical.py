"""Self-critical training follows enumerated expectations, and its rewards the official scorers."""

import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from pycocoevalcap.cider.cider_scorer import CiderScorer
from torch import nn

from bua.decode import BeamSearch, Hypotheses, Rules, Sampling, greedy
from bua.errors import InputError
from bua.inference.captioning import generate
from bua.metrics.endings import BAD_ENDINGS
from bua.models.captioners.base import Captioner
from bua.structures.region_batch import RegionBatch
from bua.tasks.captioning import LossReduction
from bua.tasks.self_critical import BASELINES, Reward, SelfCriticalTask
from bua.text.vocabulary import BOS, EOS, PADDING, UNKNOWN
from tests.helpers.coco_scorers import coco_bleu
from tests.helpers.data import caption_data, first_batch
from tests.helpers.tasks import StepLosses, fit, self_critical_task


class EmptyState(NamedTuple):
    """State of a model without memory."""

    empty: torch.Tensor


@Captioner.register
class BigramCaptioner(nn.Module):
    """A captioner whose next word depends only on the last: a table of logits."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(size, size, dtype=torch.float64).mul(0.7))

    def encode(self, regions):
        return regions.features

    def init_state(self, memory, sequences):
        return EmptyState(memory.new_zeros(len(memory), sequences, 0))

    def make_step(self, memory):
        return lambda words, state: (self.table[words], memory.new_ones(*words.shape, 1), state)

    def forward(self, regions, words, counted=None):
        return self.table[words if counted is None else words[counted]]


#: The captioner generates two words, at most three of them.
MAX_LENGTH = 3
WORDS = (EOS, 4, 5)


@pytest.fixture
def bigram(scenes):
    """Return data, a batch of one image, and a captioner of two words."""
    data = caption_data(scenes)
    batch = first_batch(data, "val")
    first = [part[:1] for part in batch[:1]] + [type(batch.regions)(*(p[:1] for p in batch.regions))]
    batch = type(batch)(*first, *(part[:1] for part in batch[2:]))
    torch.manual_seed(3)
    model = BigramCaptioner(len(data.vocabulary))
    unused = tuple(n for n in range(len(data.vocabulary)) if n not in WORDS)
    with torch.no_grad():
        model.table[:, unused] = -1e4
    words = batch.reference_words.clone()
    words[batch.reference_lengths.unsqueeze(2) > torch.arange(words.shape[2])] = 4
    words[..., 1:3][words[..., 1:3] == 4] = 5
    return data, batch._replace(reference_words=words), model


def all_captions() -> list[list[int]]:
    finished = [[*body, EOS] for n in range(MAX_LENGTH) for body in itertools.product(WORDS[1:], repeat=n)]
    return finished + [list(body) for body in itertools.product(WORDS[1:], repeat=MAX_LENGTH)]


def expected_gradient(task: SelfCriticalTask, batch) -> torch.Tensor:
    """Return minus the gradient of the expected reward over all captions."""
    total = torch.zeros((), dtype=torch.float64)
    for caption in all_captions():
        padded = torch.tensor([[caption + [PADDING] * (MAX_LENGTH - len(caption))]])
        reward = task.rewards(batch, padded)[0, 0]
        last, log_prob = BOS, torch.zeros((), dtype=torch.float64)
        for word in caption:
            log_prob = log_prob + task.model.table[last].log_softmax(0)[word]
            last = word
        total = total - log_prob.exp() * reward
    return torch.autograd.grad(total, task.model.table)[0]


@pytest.mark.parametrize("baseline", BASELINES)
def test_gradient_is_that_of_the_expected_reward(baseline, bigram) -> None:
    data, batch, model = bigram
    task = self_critical_task(
        data,
        model,
        sampler=Sampling(20_000, MAX_LENGTH),
        baseline=baseline,
        reduction=LossReduction("caption"),
    )
    model.train()
    task.training_step(batch, 0).backward()
    expected = expected_gradient(task, batch)
    assert float(expected.abs().max()) > 0.05
    assert float((model.table.grad - expected).abs().max()) < 0.05 * float(expected.abs().max())


def record_samples(task: SelfCriticalTask) -> list[Hypotheses]:
    """Return a list that will hold the captions that the task samples."""
    samples: list[Hypotheses] = []
    sample = task.sample

    def recording_sample(batch):
        hypotheses, entropy = sample(batch)
        samples.append(hypotheses)
        return hypotheses, entropy

    task.sample = recording_sample
    return samples


def reference_baseline(kind: str, rewards, greedy_reward) -> list[float]:
    if kind == "greedy":
        return [greedy_reward] * len(rewards)
    if kind == "mean":
        return [sum(rewards) / len(rewards)] * len(rewards)
    return [(sum(rewards) - r) / (len(rewards) - 1) for r in rewards]


@pytest.mark.parametrize("baseline", BASELINES)
def test_loss_equals_the_explicit_sum(baseline, scenes) -> None:
    data = caption_data(scenes)
    task, batch = self_critical_task(data, baseline=baseline), first_batch(data, "train")
    task.model.train()
    samples = record_samples(task)
    loss = float(task.training_step(batch, 0))
    found = samples[0]
    rewards = task.rewards(batch, found.words)
    greedy_captions = generate([task.model.eval()], [batch.regions], greedy(12))
    greedy_rewards = task.rewards(batch, greedy_captions.words)[:, 0].tolist()
    total, count = 0.0, 0
    for b in range(len(batch.image_id)):
        baselines = reference_baseline(baseline, rewards[b].tolist(), greedy_rewards[b])
        for n in range(4):
            words = [w for w in found.words[b, n].tolist() if w != PADDING]
            total -= (float(rewards[b, n]) - baselines[n]) * float(found.word_log_prob[b, n].sum())
            count += len(words)
    assert loss == pytest.approx(total / count, rel=1e-4, abs=1e-6)


def test_beams_get_their_log_probs_in_training_mode(scenes) -> None:
    data = caption_data(scenes)
    task = self_critical_task(data, sampler=BeamSearch(3, 12), baseline="mean")
    batch = first_batch(data, "train")
    task.model.train()
    found, _ = task.sample(batch)
    assert task.model.training
    assert found.word_log_prob.requires_grad
    task.training_step(batch, 0).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in task.model.parameters())


def test_words_drawn_from_the_top_k_get_the_log_probs_of_the_model(scenes) -> None:
    data = caption_data(scenes)
    task = self_critical_task(data, sampler=Sampling(4, 12, top_k=2))
    task.model.eval()  # without dropout the log-probabilities are reproducible
    batch = first_batch(data, "train")
    found, _ = task.sample(batch)
    read = torch.cat([torch.full_like(found.words[..., :1], BOS), found.words[..., :-1]], 2)
    logits = task.model(batch.regions, read)
    logits[..., [PADDING, BOS, UNKNOWN]] = -torch.inf
    real = found.words != PADDING
    assert real.any()
    drawn = found.words.clamp(min=0).unsqueeze(-1)
    assert bool(((logits.topk(2, dim=-1).indices == drawn).any(-1) | ~real).all())
    whole = task.model(batch.regions, read).log_softmax(-1).gather(-1, drawn).squeeze(-1)
    torch.testing.assert_close(found.word_log_prob[real], whole[real], atol=1e-5, rtol=1e-4)


def test_rewards_are_weighted_sums_of_the_scorers(scenes) -> None:
    data = caption_data(scenes)
    batch = first_batch(data, "val")
    words = batch.words[:, :3, 1:]
    parts = {
        name: self_critical_task(data, reward=Reward(c, b)).rewards(batch, words)
        for name, c, b in (("cider", 1, 0), ("bleu", 0, 1), ("both", 0.5, 2))
    }
    torch.testing.assert_close(parts["both"], 0.5 * parts["cider"] + 2 * parts["bleu"])
    caption = [w for w in words[0, 0].tolist() if w != PADDING]
    references = [
        batch.reference_words[0, r, : n + 1].tolist()
        for r, n in enumerate(batch.reference_lengths[0].tolist())
    ]
    assert float(parts["bleu"][0, 0]) == pytest.approx(coco_bleu(caption, references), abs=1e-6)


@pytest.mark.parametrize("raw", [False, True])
def test_raw_references_keep_the_words_that_the_vocabulary_lacks(raw: bool, scenes) -> None:
    data = caption_data(scenes, min_count=40, batch_size=99)
    assert len(data.vocabulary) < len(caption_data(scenes).vocabulary) - 5
    batch = next(iter(data.train_dataloader()))
    words = batch.words[:, :1, 1:]
    reward = Reward(include_eos=False, raw_references=raw)
    found = self_critical_task(data, reward=reward).rewards(batch, words)[:, 0]
    texts = [[" ".join(data.vocabulary.tokenize(text)) for text in image] for image in batch.references]
    scorer = CiderScorer(n=4, sigma=6.0)
    for caption, image in zip(words[:, 0].tolist(), texts, strict=True):
        scorer += (" ".join(data.vocabulary.decode(caption)), image)
    expected = scorer.compute_score()[1]
    assert np.allclose(found, expected, atol=1e-5) == raw


def test_raw_references_are_part_of_the_signature_and_of_the_frequencies(scenes, tmp_path) -> None:
    data = caption_data(scenes, min_count=40)
    plain, raw = (self_critical_task(data, reward=Reward(raw_references=flag)) for flag in (False, True))
    assert "raw references" in raw.signature
    assert "raw references" not in plain.signature
    raw.save(tmp_path)
    path = str(tmp_path / "document_frequencies.npz")
    again = self_critical_task(data, reward=Reward(raw_references=True), document_frequencies=path)
    assert again.signature == raw.signature
    with pytest.raises(InputError, match="document frequencies of another vocabulary"):
        self_critical_task(data, document_frequencies=path)


def test_eos_counts_only_where_it_was_generated(scenes) -> None:
    data = caption_data(scenes)
    batch = first_batch(data, "val")
    finished = batch.reference_words[:, :1]
    unfinished = finished.masked_fill(finished == EOS, PADDING)
    with_eos, without = self_critical_task(data), self_critical_task(data, reward=Reward(include_eos=False))
    assert (with_eos.rewards(batch, finished) > with_eos.rewards(batch, unfinished)).all()
    torch.testing.assert_close(without.rewards(batch, finished), without.rewards(batch, unfinished))


def test_logged_values_describe_the_captions(scenes) -> None:
    data = caption_data(scenes)
    task = self_critical_task(data, sampler=Sampling(5, 3, rules=Rules(min_length=3)))
    task.model.train()
    samples = record_samples(task)
    task.training_step(first_batch(data, "train"), 0)
    last = [data.vocabulary.words[n] for n in samples[0].words[..., -1].flatten().tolist()]
    assert task.logged["train/unfinished"] == 1
    assert task.logged["train/length"] == 3
    assert task.logged["train/bad_endings"] == pytest.approx(np.mean([word in BAD_ENDINGS for word in last]))
    assert task.logged["train/bad_endings"] > 0
    names = {"reward", "baseline", "advantage", "length", "entropy", "unfinished", "bad_endings", "loss"}
    assert {f"train/{name}" for name in names} == set(task.logged)
    assert 0 < task.logged["train/entropy"] <= np.log(len(data.vocabulary))


def test_logged_rates_count_unfinished_captions_and_bad_endings(scenes, monkeypatch) -> None:
    data = caption_data(scenes)
    batch = first_batch(data, "train")
    bad, good = data.vocabulary.index("a"), data.vocabulary.index("ball")
    captions = [[good, bad, EOS], [bad, good, EOS], [good, bad, bad], [EOS], [bad, bad, good]]
    words = torch.tensor([caption + [PADDING] * (3 - len(caption)) for caption in captions])
    words = words.expand(len(batch.image_id), -1, -1)
    log_probs = torch.zeros(words.shape, requires_grad=True)
    task = self_critical_task(data)
    found = Hypotheses(words, log_probs.sum(2), log_probs.sum(2), log_probs, torch.zeros(*words.shape, 1))
    monkeypatch.setattr(task, "sample", lambda _: (found, torch.zeros(())))
    task.training_step(batch, 0)
    assert task.logged["train/unfinished"] == pytest.approx(2 / 5)
    assert task.logged["train/bad_endings"] == pytest.approx(3 / 5)  # an empty caption counts as a bad ending
    assert task.logged["train/length"] == pytest.approx((2 + 2 + 3 + 0 + 3) / 5)


@pytest.mark.parametrize("baseline", BASELINES)
def test_images_with_fewer_captions_than_beams_use_the_existing_ones(baseline, bigram) -> None:
    data, batch, model = bigram
    unused = tuple(n for n in range(4, len(data.vocabulary)) if n not in WORDS)
    task = self_critical_task(
        data, model, sampler=BeamSearch(20, MAX_LENGTH, rules=Rules(bad_words=unused)), baseline=baseline
    )
    found, _ = task.sample(batch)
    is_caption = (found.words != PADDING).any(2)
    assert is_caption.sum() == len(all_captions()) == 15
    loss = task.training_step(batch, 0)
    rewards = task.rewards(batch, found.words)[is_caption]
    greedy_reward = float(task.rewards(batch, generate([model], [batch.regions], greedy(MAX_LENGTH)).words))
    baselines = torch.tensor(reference_baseline(baseline, rewards.tolist(), greedy_reward))
    log_prob = found.word_log_prob.sum(2)[is_caption]
    expected = -((rewards - baselines) * log_prob).sum() / (found.words != PADDING).sum()
    assert float(loss) == pytest.approx(float(expected), rel=1e-4, abs=1e-6)
    assert task.logged["train/reward"] == pytest.approx(float(rewards.mean()))


def test_greedy_baseline_is_generated_without_dropout(scenes) -> None:
    data = caption_data(scenes)
    task, modes = self_critical_task(data, baseline="greedy"), []
    task.model.train()
    batch = first_batch(data, "train")
    words = batch.words[:, :2, 1:]
    task.model.region.register_forward_hook(lambda module, *_: modes.append(module.training))
    found = task.baselines(batch, task.rewards(batch, words), (words != PADDING).any(2))
    assert modes == [False]
    assert task.model.training
    expected = generate([task.model.eval()], [batch.regions], greedy(12))
    assert found[:, :1].equal(task.rewards(batch, expected.words))


@pytest.mark.parametrize(
    "sampler", [Sampling(5, 9, temperature=0.3), Sampling(5, 9, top_k=2), BeamSearch(3, 9)], ids=str
)
def test_entropy_is_that_of_the_whole_vocabulary(sampler, scenes) -> None:
    data = caption_data(scenes)
    task = self_critical_task(data, sampler=sampler)
    task.model.eval()
    batch = first_batch(data, "train")
    found, entropy = task.sample(batch)
    entropies = []
    for n, captions in enumerate(found.words):
        for words in captions:
            one = RegionBatch(*(part[n : n + 1] for part in batch.regions))
            read = torch.cat([torch.tensor([BOS]), words])[None, None, :-1]
            real = words != PADDING
            log_probs = task.model(one, read, real[None, None]).log_softmax(-1)
            entropies += [-sum(p * math.log(p) for p in row.exp().tolist()) for row in log_probs]
    assert float(entropy) == pytest.approx(np.mean(entropies), rel=1e-4)


def test_training_increases_the_reward(scenes) -> None:
    data = caption_data(scenes, batch_size=24)
    task = self_critical_task(data, sampler=Sampling(8, 8))
    batch = first_batch(data, "train")
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-2)
    rewards = []
    for _ in range(40):
        optimizer.zero_grad()
        task.training_step(batch, 0).backward()
        optimizer.step()
        rewards.append(task.logged["train/reward"])
    assert np.mean(rewards[-5:]) > 1.5 * np.mean(rewards[:5])


def test_task_trains_in_lightning(scenes) -> None:
    data = caption_data(scenes)
    task, losses = self_critical_task(data), StepLosses()
    del task.log
    fit(task, data, steps=3, callbacks=[losses])
    assert len(losses.values) == 3
    assert np.isfinite(losses.values).all()


def test_saved_document_frequencies_are_read_again(scenes, tmp_path) -> None:
    data = caption_data(scenes)
    task = self_critical_task(data)
    task.save(tmp_path)
    reloaded = self_critical_task(data, document_frequencies=str(tmp_path / "document_frequencies.npz"))
    assert reloaded.signature == task.signature
    assert all(
        torch.equal(a, b) for a, b in zip(reloaded._frequencies[:2], task._frequencies[:2], strict=True)
    )
