"""Measure answering: a training step of the Up-Down VQA model against a plain transcription of it."""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from bua.models.attention import ProductAttention
from bua.models.vqa.updown import UpDownVQAModel
from bua.structures.region_batch import RegionBatch
from bua.tasks.losses import AnswerLoss

Row = dict[str, str]
QUESTIONS, REGIONS, FEATURES, HIDDEN = 512, 36, 2048, 1024
WORDS, ANSWERS, LONGEST = 13000, 3129, 14
#: How many of 715 questions of VQA v2 have so many words, cut at 14.
LENGTHS = {3: 23, 4: 90, 5: 167, 6: 161, 7: 136, 8: 65, 9: 29, 10: 13, 11: 18, 12: 7, 13: 3, 14: 3}


class Plain(nn.Module):
    """The published model as it is usually transcribed."""

    def __init__(self) -> None:
        super().__init__()

        def normed(in_size: int, out_size: int) -> nn.Module:
            return weight_norm(nn.Linear(in_size, out_size), dim=-1)

        def layer(in_size: int, out_size: int) -> nn.Module:
            return nn.Sequential(normed(in_size, out_size), nn.ReLU())

        self.word = nn.Embedding(WORDS, 300, padding_idx=0)
        self.gru = nn.GRU(300, HIDDEN, batch_first=True)
        self.attend_region, self.attend_question = layer(FEATURES, HIDDEN), layer(HIDDEN, HIDDEN)
        self.dropout, self.score = nn.Dropout(0.2), normed(HIDDEN, 1)
        self.question, self.region = layer(HIDDEN, HIDDEN), layer(FEATURES, HIDDEN)
        self.classifier = nn.Sequential(
            layer(HIDDEN, 2 * HIDDEN), nn.Dropout(0.5), normed(2 * HIDDEN, ANSWERS)
        )

    def forward(self, regions: Tensor, words: Tensor) -> Tensor:
        """Return logits (B, C)."""
        states, _ = self.gru(self.word(words))
        question = states[:, -1]
        asked = self.attend_question(question).unsqueeze(1).repeat(1, regions.shape[1], 1)
        joint = self.dropout(self.attend_region(regions) * asked)
        weights = self.score(joint).softmax(1)
        attended = (weights * regions).sum(1)
        return self.classifier(self.question(question) * self.region(attended))


def questions() -> Tensor:
    """Return as many questions as a batch has, of the lengths that questions have, padded in front."""
    lengths = torch.tensor([length for length, count in LENGTHS.items() for _ in range(count)])
    chosen = lengths[torch.randperm(len(lengths))[:QUESTIONS]]
    there = torch.arange(LONGEST) >= LONGEST - chosen.unsqueeze(1)
    return torch.randint(4, WORDS, (QUESTIONS, LONGEST)) * there


def stepping(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    """Return a training step: forward, backward, clip, Adamax."""
    optimizer = torch.optim.Adamax(model.parameters(), lr=2e-3)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()

    return step


def answerer() -> UpDownVQAModel:
    """Return ``updown_hu`` in its published size, untrained."""
    sizes: dict[str, Any] = {"feature_size": FEATURES, "hidden_size": HIDDEN}
    return UpDownVQAModel(
        **sizes,
        vocabulary_size=WORDS,
        answers=ANSWERS,
        word_size=300,
        dropout=0.5,
        attention=ProductAttention(**sizes, question_size=HIDDEN, dropout=0.2),
    )


class Batch(NamedTuple):
    """A batch of questions."""

    regions: RegionBatch
    words: Tensor
    targets: Tensor


def batch(device: str) -> Batch:
    """Return random regions and questions, each with one answer."""
    torch.manual_seed(0)
    features, mask = torch.randn(QUESTIONS, REGIONS, FEATURES).abs(), torch.ones(QUESTIONS, REGIONS).bool()
    regions = RegionBatch(features, mask, torch.rand(QUESTIONS, REGIONS, 4)).to(device)
    targets = F.one_hot(torch.randint(0, ANSWERS, (QUESTIONS,)), ANSWERS).float()
    return Batch(regions, questions().to(device), targets.to(device))


def our_step(model: nn.Module, given: Batch) -> Callable[[], None]:
    """Return a training step of a model of ours."""
    loss = AnswerLoss()
    return stepping(model, lambda: loss(model(given.regions, given.words)[0], given.targets))


def plain_step(model: Plain, given: Batch) -> Callable[[], None]:
    """Return a training step of the transcription."""

    def loss() -> Tensor:
        logits = model(given.regions.features, given.words)
        return F.binary_cross_entropy_with_logits(logits, given.targets) * ANSWERS

    return stepping(model, loss)


#: What is timed, and against what.
WHAT = (
    "training step of the Up-Down VQA model (512 questions of VQA v2's lengths, 36 x 2048, 1,024 hidden, "
    "3,129 answers; forward, backward, clipping, Adamax)"
)


def training_step(times: int = 9) -> Row:
    """Time both in turn, several times: by the clock, and in processor time, which other programs spare."""
    given = batch("cpu")
    both = plain_step(Plain(), given), our_step(answerer(), given)
    clock: tuple[list[float], ...] = ([], [])
    processor: tuple[list[float], ...] = ([], [])
    for n in range(times + 1):
        for which, step in enumerate(both):
            started, spent = time.perf_counter(), time.process_time()
            step()
            if n > 0:  # the first does not count
                clock[which].append(time.perf_counter() - started)
                processor[which].append(time.process_time() - spent)
    faster, cheaper = (
        statistics.median(plain) / statistics.median(ours) for plain, ours in (clock, processor)
    )
    return {
        "what": f"{WHAT}, against a plain transcription",
        "value": f"{faster:.2f} times as fast ({cheaper:.2f} in processor time)",
        "wanted": "1.4 times",
    }
