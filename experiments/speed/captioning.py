"""Measure captioning: training, search and rewards, each compared with its usual implementation."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from plain_captioner import PlainUpDown, eos_bonus, plain_batched_beam_search, plain_beam_search
from pycocoevalcap.cider.cider_scorer import CiderScorer
from timing import DEVICE_NAMES, Row, fastest_seconds, median_seconds, synchronized
from torch import Tensor, nn
from torch.nn import functional as F

from bua.data.captions.dataset import CaptionBatch
from bua.decode import BeamSearch, Rules, Sampling, greedy
from bua.inference.captioning import make_step_function
from bua.metrics.reward import cider_d, document_frequencies, pad_captions, prepare_references
from bua.models.captioners.base import Captioner
from bua.models.captioners.updown import UpDownCaptioner
from bua.structures.region_batch import RegionBatch
from bua.tasks.captioning import LossReduction
from bua.tasks.self_critical import Reward, SelfCriticalTask
from bua.text.vocabulary import EOS, SPECIAL, Vocabulary

#: Size of the vocabulary of self-critical.pytorch.
VOCABULARY_SIZE = 9488
#: Length of a sampled caption, the end token included.
LENGTH = 11


def random_regions(images: int) -> RegionBatch:
    """Return 36 random regions per image."""
    mask = torch.ones(images, 36, dtype=torch.bool)
    return RegionBatch(torch.randn(images, 36, 2048), mask, torch.rand(images, 36, 4))


def updown_captioner() -> UpDownCaptioner:
    """Return the untrained captioner of self-critical.pytorch."""
    torch.manual_seed(0)
    return UpDownCaptioner(
        feature_size=2048,
        vocabulary_size=VOCABULARY_SIZE,
        word_size=1000,
        hidden_size=1000,
        attention_size=512,
        dropout=0.5,
    )


def cross_entropy() -> Row:
    """Time forward and backward of 10 images with 5 captions each."""
    model, words = updown_captioner(), torch.randint(4, VOCABULARY_SIZE, (10, 5, 18))
    regions, plain = random_regions(10), PlainUpDown(model)

    def step(captioner: nn.Module) -> None:
        logits = captioner(regions, words[..., :-1]).reshape(-1, VOCABULARY_SIZE)
        F.cross_entropy(logits, words[..., 1:].reshape(-1)).backward()
        captioner.zero_grad()

    slow, fast = fastest_seconds([lambda: step(plain), lambda: step(model)], 7)
    return {
        "what": "cross-entropy step of the Up-Down captioner (1000/1000/512, 36 x 2048, 9,488 words, "
        "10 x 5 captions), compared with a plain loop over `LSTMCell`",
        "value": f"{slow / fast:.2f} times as fast",
        "target": "1.8 times",
    }


class EndingCaptioner(nn.Module):
    """A captioner whose captions end after about ten words, as those of an untrained one never would."""

    def __init__(self, model: Captioner[Any, Any]) -> None:
        super().__init__()
        self.m, self.num_steps = model, 0

    def encode(self, regions: RegionBatch) -> Any:
        """Encode regions, and start to count steps."""
        self.num_steps = 0
        return self.m.encode(regions)

    def init_state(self, memory: Any, num_sequences: int) -> Any:
        """Return the state before the first word."""
        return self.m.init_state(memory, num_sequences)

    def make_step(self, memory: Any) -> Callable[[Tensor, Any], tuple[Tensor, Tensor, Any]]:
        """Return a step function that makes the end token more likely with every step."""
        model_step = self.m.make_step(memory)

        def step(words: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
            logits, weights, state = model_step(words, state)
            self.num_steps += 1
            logits[..., EOS] += eos_bonus(self.num_steps)
            return logits, weights, state

        return step


@torch.no_grad()
def beam_search() -> list[Row]:
    """Time beam search with 5 beams over 50 images."""
    model, regions = updown_captioner().eval(), random_regions(50)
    plain = PlainUpDown(model)
    search = BeamSearch(5, 20)

    def ours() -> None:
        step, state = make_step_function(EndingCaptioner(model), regions)
        search(step, state, images=50)

    loops = {
        "one image at a time": (plain_beam_search, 1, "4 times"),
        "all images at once": (plain_batched_beam_search, 3, ""),
    }
    rows, seconds = [], median_seconds(ours, 3)
    for how, (loop, repeats, target) in loops.items():
        ratio = median_seconds(partial(loop, plain, regions, 5, 20), repeats) / seconds
        what = (
            "beam search, 5 beams, 50 images, the same captioner, captions of 10 words, compared with a "
            f"plain loop over `LSTMCell`, {how}"
        )
        rows.append({"what": what, "value": f"{ratio:.1f} times as fast", "target": target})
    return rows


def rewards() -> Row:
    """Time CIDEr-D of 5 captions of each of 100 images, with words as unequally frequent as real ones."""
    rng = np.random.default_rng(0)

    def caption(length: int) -> list[int]:
        return (rng.zipf(1.5, length) % VOCABULARY_SIZE).tolist()

    references = [[caption(12) for _ in range(5)] for _ in range(5000)]
    sampled = [[caption(11) for _ in range(5)] for _ in range(100)]
    frequencies = document_frequencies(references, VOCABULARY_SIZE)
    words, lengths = (part.unflatten(0, (100, 5)) for part in pad_captions(_flatten(sampled)))
    padded = [part.unflatten(0, (100, 5)) for part in pad_captions(_flatten(references[:100]))]

    def text(words: list[int]) -> str:
        return " ".join(f"w{word}" for word in words)

    def pycocoevalcap() -> None:
        scorer = CiderScorer(n=4, sigma=6.0)
        for image, truth in zip(sampled, references, strict=False):
            for words in image:
                scorer += (text(words), [text(words) for words in truth])
        scorer.compute_score()

    def ours() -> None:
        cider_d(words, lengths, prepare_references(*padded, frequencies))

    ratio = median_seconds(pycocoevalcap, 5) / median_seconds(ours, 50)
    return {
        "what": "CIDEr-D rewards of 500 captions of 100 images, including the n-grams of the references, "
        "compared with the scorer of pycocoevalcap",
        "value": f"{ratio:.0f} times as fast",
        "target": "50 times",
    }


def _flatten(captions: list[list[list[int]]]) -> list[list[int]]:
    return [words for image in captions for words in image]


def self_critical_task(
    model: Captioner[Any, Any], regions: RegionBatch
) -> tuple[SelfCriticalTask, CaptionBatch]:
    """Return self-critical training with 5 samples of 11 words per image, and a batch."""
    rng, names = np.random.default_rng(0), [f"w{n}" for n in range(VOCABULARY_SIZE - len(SPECIAL))]
    device, images = regions.features.device, range(len(regions.features))

    def caption() -> str:
        return " ".join(names[n] for n in rng.zipf(1.5, LENGTH - 1) % len(names))

    vocabulary = Vocabulary(names, "karpathy")
    captions = {image: [caption() for _ in range(5)] for image in range(5000)}
    task = SelfCriticalTask(
        model,
        vocabulary=vocabulary,
        captions=captions,
        decoder=greedy(LENGTH),
        sampler=Sampling(5, LENGTH, rules=Rules(min_length=LENGTH - 1)),
        baseline="leave_one_out",
        reward=Reward(),
        document_frequencies=None,
        reduction=LossReduction(),
        optimizer=partial(torch.optim.Adam, lr=5e-5),
        scheduler=None,
        record={},
    ).to(device)
    task.log = lambda *_, **__: None  # there is no trainer
    task.on_fit_start()
    flat = pad_captions([[*vocabulary.encode(text), EOS] for image in images for text in captions[image]])
    words, lengths = (part.unflatten(0, (len(images), 5)).to(device) for part in flat)
    return task, CaptionBatch(
        image_id=list(images),
        regions=regions,
        words=words,
        references=[captions[image] for image in images],
        reference_words=words,
        reference_lengths=lengths - 1,
    )


def self_critical_step(task: SelfCriticalTask, batch: CaptionBatch) -> Callable[[], None]:
    """Return a training step: sampling, rewards, backward, Adam."""
    optimizer = torch.optim.Adam(task.parameters(), lr=5e-5)

    def step() -> None:
        optimizer.zero_grad()
        task.training_step(batch, 0).backward()
        optimizer.step()

    return step


def reward_share(device: str = "cpu") -> Row:
    """Time a self-critical step of 10 images with 5 samples each, and the rewards in it."""
    task, batch = self_critical_task(updown_captioner().to(device), random_regions(10).to(device))
    sampled = torch.randint(4, VOCABULARY_SIZE, (10, 5, LENGTH), device=device)
    functions = (lambda: task.rewards(batch, sampled), self_critical_step(task, batch))
    rewards, step = (synchronized(function, device) for function in functions)
    share = median_seconds(rewards, 20) / median_seconds(step, 3 if device == "cpu" else 20)
    return {
        "what": f"share of rewards in a self-critical step on {DEVICE_NAMES[device]}, the same captioner, "
        f"10 images x 5 samples of {LENGTH} words",
        "value": f"{100 * share:.2f}%",
        "target": "at most 5%",
    }


def measure_captioning() -> list[Row]:
    """Measure everything in this module."""
    return [cross_entropy(), *beam_search(), rewards(), reward_share()]
