"""Self-critical training against expectations that are enumerated, and rewards against the scorers."""

import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from bua.decode import BeamSearch, Hypotheses, Rules, Sampling, greedy
from bua.inference.generate import generate
from bua.metrics.endings import BAD_ENDINGS
from bua.models.captioners.updown import UpDownCaptioner
from bua.structures.region_batch import RegionBatch
from bua.tasks.losses import LossReduction
from bua.tasks.self_critical import BASELINES, Reward, SelfCriticalTask
from bua.text.vocabulary import BOS, EOS, PADDING, UNKNOWN
from tests.helpers.data import caption_data
from tests.metrics.test_reward import coco_bleu
from tests.tasks.test_tasks import Losses, fit


def self_critical(data, model=None, **more) -> SelfCriticalTask:
    torch.manual_seed(0)
    if model is None:
        model = UpDownCaptioner(**data.sizes, word_size=16, hidden_size=24, attention_size=12, dropout=0.1)
    options = {
        "decoder": greedy(12),
        "sampler": Sampling(4, 12),
        "baseline": "leave_one_out",
        "reward": Reward(),
        "frequencies": None,
        "normaliser": LossReduction(),
        "optimizer": lambda p: torch.optim.Adam(p, lr=5e-3),
        "scheduler": None,
        "record": data.record,
    }
    task = SelfCriticalTask(model, **data.parts, **(options | more))
    task.log = lambda name, value, **_: task.__dict__.setdefault("logged", {}).update({name: float(value)})
    return task


class Nothing(NamedTuple):
    """A state of nothing."""

    empty: torch.Tensor


class Tiny(nn.Module):
    """A captioner over a table of logits: the next word depends on the last alone."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(size, size, dtype=torch.float64).mul(0.7))

    def encode(self, regions):
        return regions.features

    def init_state(self, memory, sequences):
        return Nothing(memory.new_zeros(len(memory), sequences, 0))

    def make_step(self, memory):
        return lambda words, state: (self.table[words], memory.new_ones(*words.shape, 1), state)

    def forward(self, regions, words, where=None):
        return self.table[words if where is None else words[where]]


#: Two words can be said, at most three of them.
LONGEST = 3
WORDS = (EOS, 4, 5)


@pytest.fixture
def tiny(scenes):
    """One image, a captioner of two words, and the reward of all that it can say."""
    data = caption_data(scenes)
    batch = next(iter(data.val_dataloader()))
    one = [part[:1] for part in batch[:1]] + [type(batch.regions)(*(p[:1] for p in batch.regions))]
    batch = type(batch)(*one, *(part[:1] for part in batch[2:]))
    torch.manual_seed(3)
    model = Tiny(len(data.vocabulary))
    silent = tuple(n for n in range(len(data.vocabulary)) if n not in WORDS)
    with torch.no_grad():
        model.table[:, silent] = -1e4
    words = batch.reference_words.clone()
    words[batch.reference_lengths.unsqueeze(2) > torch.arange(words.shape[2])] = 4
    words[..., 1:3][words[..., 1:3] == 4] = 5
    return data, batch._replace(reference_words=words), model


def every_caption() -> list[list[int]]:
    found = [[*body, EOS] for n in range(LONGEST) for body in itertools.product(WORDS[1:], repeat=n)]
    return found + [list(body) for body in itertools.product(WORDS[1:], repeat=LONGEST)]


def expected_gradient(task: SelfCriticalTask, batch) -> torch.Tensor:
    """Return minus the gradient of the expected reward, over every caption that can be said."""
    total = torch.zeros((), dtype=torch.float64)
    for caption in every_caption():
        padded = torch.tensor([[caption + [PADDING] * (LONGEST - len(caption))]])
        reward = task.rewards(batch, padded)[0, 0]
        last, log_prob = BOS, torch.zeros((), dtype=torch.float64)
        for word in caption:
            log_prob = log_prob + task.model.table[last].log_softmax(0)[word]
            last = word
        total = total - log_prob.exp() * reward
    return torch.autograd.grad(total, task.model.table)[0]


@pytest.mark.parametrize("baseline", BASELINES)
def test_the_gradient_is_that_of_the_expected_reward(baseline, tiny) -> None:
    data, batch, model = tiny
    task = self_critical(
        data,
        model,
        sampler=Sampling(20_000, LONGEST),
        baseline=baseline,
        normaliser=LossReduction("caption"),
    )
    model.train()
    task.training_step(batch, 0).backward()
    wanted = expected_gradient(task, batch)
    assert float(wanted.abs().max()) > 0.05
    assert float((model.table.grad - wanted).abs().max()) < 0.05 * float(wanted.abs().max())


def keeping(task: SelfCriticalTask) -> list[Hypotheses]:
    """Return a list that will hold what the task draws."""
    kept: list[Hypotheses] = []
    drawn = task.sampled

    def sampled(batch):
        found, entropy = drawn(batch)
        kept.append(found)
        return found, entropy

    task.sampled = sampled
    return kept


def slow_baseline(kind: str, rewards, greedy_reward) -> list[float]:
    if kind == "greedy":
        return [greedy_reward] * len(rewards)
    if kind == "mean":
        return [sum(rewards) / len(rewards)] * len(rewards)
    return [(sum(rewards) - r) / (len(rewards) - 1) for r in rewards]


@pytest.mark.parametrize("baseline", BASELINES)
def test_the_loss_is_the_sum_that_it_stands_for(baseline, scenes) -> None:
    data = caption_data(scenes)
    task, batch = self_critical(data, baseline=baseline), next(iter(data.train_dataloader()))
    task.model.train()
    kept = keeping(task)
    loss = float(task.training_step(batch, 0))
    found = kept[0]
    rewards = task.rewards(batch, found.words)
    said = generate([task.model.eval()], [batch.regions], greedy(12))
    greedy_rewards = task.rewards(batch, said.words)[:, 0].tolist()
    total, count = 0.0, 0
    for b in range(len(batch.image_id)):
        each = slow_baseline(baseline, rewards[b].tolist(), greedy_rewards[b])
        for n in range(4):
            words = [w for w in found.words[b, n].tolist() if w != PADDING]
            total -= (float(rewards[b, n]) - each[n]) * float(found.word_log_prob[b, n].sum())
            count += len(words)
    assert loss == pytest.approx(total / count, rel=1e-4, abs=1e-6)


def test_beams_are_learnt_from_with_the_likelihood_of_training_mode(scenes) -> None:
    data = caption_data(scenes)
    task = self_critical(data, sampler=BeamSearch(3, 12), baseline="mean")
    batch = next(iter(data.train_dataloader()))
    task.model.train()
    found, _ = task.sampled(batch)
    assert task.model.training
    assert found.word_log_prob.requires_grad
    task.training_step(batch, 0).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in task.model.parameters())


def test_words_drawn_from_the_top_k_are_learnt_from_with_the_likelihood_of_the_model(scenes) -> None:
    data = caption_data(scenes)
    task = self_critical(data, sampler=Sampling(4, 12, top_k=2))
    task.model.eval()  # without dropout the same words have the same likelihood again
    batch = next(iter(data.train_dataloader()))
    found, _ = task.sampled(batch)
    read = torch.cat([torch.full_like(found.words[..., :1], BOS), found.words[..., :-1]], 2)
    logits = task.model(batch.regions, read)
    logits[..., [PADDING, BOS, UNKNOWN]] = -torch.inf
    real = found.words != PADDING
    assert real.any()
    drawn = found.words.clamp(min=0).unsqueeze(-1)
    assert bool(((logits.topk(2, dim=-1).indices == drawn).any(-1) | ~real).all())
    whole = task.model(batch.regions, read).log_softmax(-1).gather(-1, drawn).squeeze(-1)
    torch.testing.assert_close(found.word_log_prob[real], whole[real], atol=1e-5, rtol=1e-4)


def test_rewards_mix_what_the_scorers_give(scenes) -> None:
    data = caption_data(scenes)
    batch = next(iter(data.val_dataloader()))
    words = batch.words[:, :3, 1:]
    parts = {
        name: self_critical(data, reward=Reward(c, b)).rewards(batch, words)
        for name, c, b in (("cider", 1, 0), ("bleu", 0, 1), ("both", 0.5, 2))
    }
    torch.testing.assert_close(parts["both"], 0.5 * parts["cider"] + 2 * parts["bleu"])
    said = [w for w in words[0, 0].tolist() if w != PADDING]
    references = [
        batch.reference_words[0, r, : n + 1].tolist()
        for r, n in enumerate(batch.reference_lengths[0].tolist())
    ]
    assert float(parts["bleu"][0, 0]) == pytest.approx(coco_bleu(said, references), abs=1e-6)


def test_an_end_counts_only_where_it_was_said(scenes) -> None:
    data = caption_data(scenes)
    batch = next(iter(data.val_dataloader()))
    whole = batch.reference_words[:, :1]
    cut = whole.masked_fill(whole == EOS, PADDING)
    with_end, without = self_critical(data), self_critical(data, reward=Reward(end=False))
    assert (with_end.rewards(batch, whole) > with_end.rewards(batch, cut)).all()
    torch.testing.assert_close(without.rewards(batch, whole), without.rewards(batch, cut))


def test_what_is_logged_describes_the_captions(scenes) -> None:
    data = caption_data(scenes)
    task = self_critical(data, sampler=Sampling(5, 3, rules=Rules(min_length=3)))
    task.model.train()
    kept = keeping(task)
    task.training_step(next(iter(data.train_dataloader())), 0)
    last = [data.vocabulary.words[n] for n in kept[0].words[..., -1].flatten().tolist()]
    assert task.logged["train/unfinished"] == 1
    assert task.logged["train/length"] == 3
    assert task.logged["train/bad_endings"] == pytest.approx(np.mean([word in BAD_ENDINGS for word in last]))
    assert task.logged["train/bad_endings"] > 0
    names = {"reward", "baseline", "advantage", "length", "entropy", "unfinished", "bad_endings", "loss"}
    assert {f"train/{name}" for name in names} == set(task.logged)
    assert 0 < task.logged["train/entropy"] <= np.log(len(data.vocabulary))


def test_logged_shares_are_those_of_the_captions_that_end_and_end_badly(scenes, monkeypatch) -> None:
    data = caption_data(scenes)
    batch = next(iter(data.train_dataloader()))
    bad, good = data.vocabulary.index("a"), data.vocabulary.index("ball")
    captions = [[good, bad, EOS], [bad, good, EOS], [good, bad, bad], [EOS], [bad, bad, good]]
    words = torch.tensor([one + [PADDING] * (3 - len(one)) for one in captions])
    words = words.expand(len(batch.image_id), -1, -1)
    chances = torch.zeros(words.shape, requires_grad=True)
    task = self_critical(data)
    found = Hypotheses(words, chances.sum(2), chances.sum(2), chances, torch.zeros(*words.shape, 1))
    monkeypatch.setattr(task, "sampled", lambda _: (found, torch.zeros(())))
    task.training_step(batch, 0)
    assert task.logged["train/unfinished"] == pytest.approx(2 / 5)
    assert task.logged["train/bad_endings"] == pytest.approx(3 / 5)  # what says nothing ends badly, too
    assert task.logged["train/length"] == pytest.approx((2 + 2 + 3 + 0 + 3) / 5)


@pytest.mark.parametrize("baseline", BASELINES)
def test_images_with_fewer_captions_than_beams_learn_from_those_that_there_are(baseline, tiny) -> None:
    data, batch, model = tiny
    silent = tuple(n for n in range(4, len(data.vocabulary)) if n not in WORDS)
    task = self_critical(
        data, model, sampler=BeamSearch(20, LONGEST, rules=Rules(bad_words=silent)), baseline=baseline
    )
    found, _ = task.sampled(batch)
    there = (found.words != PADDING).any(2)
    assert there.sum() == len(every_caption()) == 15
    loss = task.training_step(batch, 0)
    rewards = task.rewards(batch, found.words)[there]
    greedily = float(task.rewards(batch, generate([model], [batch.regions], greedy(LONGEST)).words))
    each = torch.tensor(slow_baseline(baseline, rewards.tolist(), greedily))
    chances = found.word_log_prob.sum(2)[there]
    wanted = -((rewards - each) * chances).sum() / (found.words != PADDING).sum()
    assert float(loss) == pytest.approx(float(wanted), rel=1e-4, abs=1e-6)
    assert task.logged["train/reward"] == pytest.approx(float(rewards.mean()))


def test_the_greedy_baseline_is_what_the_model_says_without_dropout(scenes) -> None:
    data = caption_data(scenes)
    task, modes = self_critical(data, baseline="greedy"), []
    task.model.train()
    batch = next(iter(data.train_dataloader()))
    words = batch.words[:, :2, 1:]
    task.model.region.register_forward_hook(lambda module, *_: modes.append(module.training))
    found = task.baselines(batch, task.rewards(batch, words), (words != PADDING).any(2))
    assert modes == [False]
    assert task.model.training
    wanted = generate([task.model.eval()], [batch.regions], greedy(12))
    assert found[:, :1].equal(task.rewards(batch, wanted.words))


@pytest.mark.parametrize(
    "sampler", [Sampling(5, 9, temperature=0.3), Sampling(5, 9, top_k=2), BeamSearch(3, 9)], ids=str
)
def test_the_entropy_is_that_of_the_whole_vocabulary_whatever_words_are_chosen_by(sampler, scenes) -> None:
    data = caption_data(scenes)
    task = self_critical(data, sampler=sampler)
    task.model.eval()
    batch = next(iter(data.train_dataloader()))
    found, entropy = task.sampled(batch)
    entropies = []
    for n, captions in enumerate(found.words):
        for words in captions:
            one = RegionBatch(*(part[n : n + 1] for part in batch.regions))
            read = torch.cat([torch.tensor([BOS]), words])[None, None, :-1]
            real = words != PADDING
            log_probs = task.model(one, read, real[None, None]).log_softmax(-1)
            entropies += [-sum(p * math.log(p) for p in row.exp().tolist()) for row in log_probs]
    assert float(entropy) == pytest.approx(np.mean(entropies), rel=1e-4)


def test_training_raises_the_reward(scenes) -> None:
    data = caption_data(scenes, batch_size=24)
    task = self_critical(data, sampler=Sampling(8, 8))
    batch = next(iter(data.train_dataloader()))
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-2)
    rewards = []
    for _ in range(40):
        optimizer.zero_grad()
        task.training_step(batch, 0).backward()
        optimizer.step()
        rewards.append(task.logged["train/reward"])
    assert np.mean(rewards[-5:]) > 1.5 * np.mean(rewards[:5])


def test_a_training_runs_in_lightning(scenes) -> None:
    data = caption_data(scenes)
    task, losses = self_critical(data), Losses()
    del task.log
    fit(task, data, steps=3, callbacks=[losses])
    assert len(losses.values) == 3
    assert np.isfinite(losses.values).all()


def test_frequencies_are_read_again_as_they_were_counted(scenes, tmp_path) -> None:
    data = caption_data(scenes)
    task = self_critical(data)
    task.save(tmp_path)
    again = self_critical(data, frequencies=str(tmp_path / "document_frequencies.npz"))
    assert again.signature == task.signature
    assert all(torch.equal(a, b) for a, b in zip(again._frequencies[:2], task._frequencies[:2], strict=True))
