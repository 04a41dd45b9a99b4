"""Measure a training step of the Up-Down VQA model, compared with a plain implementation."""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from timing import Row
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from bua.models.attention import ProductAttention
from bua.models.vqa.updown import UpDownVQAModel
from bua.structures.region_batch import RegionBatch
from bua.tasks.vqa import AnswerLoss

QUESTIONS, REGIONS, FEATURE_SIZE, HIDDEN_SIZE = 512, 36, 2048, 1024
VOCABULARY_SIZE, ANSWERS, MAX_LENGTH = 13000, 3129, 14
#: Number of questions by their number of words, in 715 questions of VQA v2 truncated to 14 words.
LENGTHS = {3: 23, 4: 90, 5: 167, 6: 161, 7: 136, 8: 65, 9: 29, 10: 13, 11: 18, 12: 7, 13: 3, 14: 3}


class PlainUpDownVQA(nn.Module):
    """The published model as it is usually implemented."""

    def __init__(self) -> None:
        super().__init__()

        def linear(in_size: int, out_size: int) -> nn.Module:
            return weight_norm(nn.Linear(in_size, out_size), dim=-1)

        def nonlinear(in_size: int, out_size: int) -> nn.Module:
            return nn.Sequential(linear(in_size, out_size), nn.ReLU())

        size = HIDDEN_SIZE
        self.word = nn.Embedding(VOCABULARY_SIZE, 300, padding_idx=0)
        self.gru = nn.GRU(300, size, batch_first=True)
        self.attend_region, self.attend_question = nonlinear(FEATURE_SIZE, size), nonlinear(size, size)
        self.dropout, self.score = nn.Dropout(0.2), linear(size, 1)
        self.question, self.region = nonlinear(size, size), nonlinear(FEATURE_SIZE, size)
        self.classifier = nn.Sequential(nonlinear(size, 2 * size), nn.Dropout(0.5), linear(2 * size, ANSWERS))

    def forward(self, regions: Tensor, words: Tensor) -> Tensor:
        """Return logits (B, C)."""
        states, _ = self.gru(self.word(words))
        question = states[:, -1]
        query = self.attend_question(question).unsqueeze(1).repeat(1, regions.shape[1], 1)
        joint = self.dropout(self.attend_region(regions) * query)
        weights = self.score(joint).softmax(1)
        attended = (weights * regions).sum(1)
        return self.classifier(self.question(question) * self.region(attended))


def random_questions() -> Tensor:
    """Return a batch of questions with lengths as in VQA v2, padded in front."""
    lengths = torch.tensor([length for length, count in LENGTHS.items() for _ in range(count)])
    lengths = lengths[torch.randperm(len(lengths))[:QUESTIONS]]
    is_word = torch.arange(MAX_LENGTH) >= MAX_LENGTH - lengths.unsqueeze(1)
    return torch.randint(4, VOCABULARY_SIZE, (QUESTIONS, MAX_LENGTH)) * is_word


def updown_hu() -> UpDownVQAModel:
    """Return ``updown_hu`` in its published size, untrained."""
    sizes: dict[str, Any] = {"feature_size": FEATURE_SIZE, "hidden_size": HIDDEN_SIZE}
    return UpDownVQAModel(
        **sizes,
        vocabulary_size=VOCABULARY_SIZE,
        answers=ANSWERS,
        word_size=300,
        dropout=0.5,
        attention=ProductAttention(**sizes, question_size=HIDDEN_SIZE, dropout=0.2),
    )


class Batch(NamedTuple):
    """A batch of questions with the regions of their images and the scores of all answers."""

    regions: RegionBatch
    words: Tensor
    targets: Tensor


def random_batch(device: str) -> Batch:
    """Return random regions and questions, each with one answer."""
    torch.manual_seed(0)
    features = torch.randn(QUESTIONS, REGIONS, FEATURE_SIZE).abs()
    mask = torch.ones(QUESTIONS, REGIONS).bool()
    regions = RegionBatch(features, mask, torch.rand(QUESTIONS, REGIONS, 4)).to(device)
    targets = F.one_hot(torch.randint(0, ANSWERS, (QUESTIONS,)), ANSWERS).float()
    return Batch(regions, random_questions().to(device), targets.to(device))


def training_step(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    """Return a training step: forward, backward, clipping, Adamax."""
    optimizer = torch.optim.Adamax(model.parameters(), lr=2e-3)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()

    return step


def our_step(model: nn.Module, batch: Batch) -> Callable[[], None]:
    """Return a training step of a model of ``bua``."""
    loss = AnswerLoss()
    return training_step(model, lambda: loss(model(batch.regions, batch.words)[0], batch.targets))


def plain_step(model: PlainUpDownVQA, batch: Batch) -> Callable[[], None]:
    """Return a training step of the plain implementation."""

    def loss() -> Tensor:
        logits = model(batch.regions.features, batch.words)
        return F.binary_cross_entropy_with_logits(logits, batch.targets) * ANSWERS

    return training_step(model, loss)


#: What is timed.
WHAT = (
    "training step of the Up-Down VQA model (512 questions with lengths as in VQA v2, 36 x 2048, 1,024 "
    "hidden units, 3,129 answers; forward, backward, clipping, Adamax)"
)


def measure_step(repeats: int = 9) -> Row:
    """Time both implementations in turns, in wall time and in CPU time, which others do not affect."""
    batch = random_batch("cpu")
    steps = plain_step(PlainUpDownVQA(), batch), our_step(updown_hu(), batch)
    wall: tuple[list[float], ...] = ([], [])
    cpu: tuple[list[float], ...] = ([], [])
    for n in range(repeats + 1):
        for which, step in enumerate(steps):
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            step()
            if n > 0:  # the first is a warm-up
                wall[which].append(time.perf_counter() - wall_start)
                cpu[which].append(time.process_time() - cpu_start)
    wall_ratio, cpu_ratio = (
        statistics.median(plain) / statistics.median(ours) for plain, ours in (wall, cpu)
    )
    return {
        "what": f"{WHAT}, compared with a plain implementation",
        "value": f"{wall_ratio:.2f} times as fast ({cpu_ratio:.2f} in CPU time)",
        "target": "1.4 times",
    }
