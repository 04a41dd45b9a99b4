"""Captioners: one step of a recurrent network over regions that are encoded once.

Shapes: B images, N sequences an image, T words, K regions (padded), D region features, E word
vector, H state, A attention, V vocabulary.
"""

from typing import NamedTuple, Protocol, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from bua.models.attention import AdditiveAttention, masked_mean

State = TypeVar("State", bound=tuple[Tensor, ...])
Memory = TypeVar("Memory", bound=tuple[Tensor, ...])


class Captioner(Protocol[Memory, State]):
    """What decoding and training need of a captioner.

    ``encode`` is called once an image; ``start`` gives the state before the first word; ``step``
    reads one word of each of N sequences an image. Every tensor of a state is (B, N, ...).
    """

    def encode(self, features: Tensor, mask: Tensor) -> Memory:
        """Return what every step needs of the regions."""

    def start(self, memory: Memory, sequences: int) -> State:
        """Return the state before the first word."""

    def step(self, words: Tensor, memory: Memory, state: State) -> tuple[Tensor, Tensor, State]:
        """Return logits (B, N, V), weights of the regions (B, N, K) and the next state."""

    def forward(self, features: Tensor, mask: Tensor, words: Tensor) -> Tensor:
        """Return logits (B, N, T, V) of the word after each of ``words`` (B, N, T)."""


class EncodedRegions(NamedTuple):
    """Regions of a batch, encoded once and attended at every step."""

    features: Float[Tensor, "B K H"]
    keys: Float[Tensor, "B K A"]
    gates: Float[Tensor, "B 1 G"]  # what the mean region adds to the gates of the first LSTM
    mask: Bool[Tensor, "B K"]


class UpDownState(NamedTuple):
    """Hidden and cell state of the attention LSTM (1) and the language LSTM (2)."""

    h1: Float[Tensor, "B N H"]
    c1: Float[Tensor, "B N H"]
    h2: Float[Tensor, "B N H"]
    c2: Float[Tensor, "B N H"]


class UpDownCaptioner(nn.Module):
    """The Up-Down captioner (Anderson et al. 2018, section 3.2) as self-critical.pytorch builds it.

    The first LSTM chooses where to look, the second what to say. Regions and their mean are
    projected, with ReLU and dropout, before they are used.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocabulary_size: int,
        word_size: int,
        hidden_size: int,
        attention_size: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.word = nn.Embedding(vocabulary_size, word_size)
        self.region = nn.Linear(feature_size, hidden_size)
        self.mean = nn.Linear(feature_size, hidden_size)
        self.key = nn.Linear(hidden_size, attention_size)
        self.attention = AdditiveAttention(state_size=hidden_size, attention_size=attention_size)
        # inputs: language state, mean region, word
        self.attention_lstm = nn.LSTMCell(2 * hidden_size + word_size, hidden_size)
        # inputs: attended region, attention state
        self.language_lstm = nn.LSTMCell(2 * hidden_size, hidden_size)
        self.logits = nn.Linear(hidden_size, vocabulary_size)
        self.dropout = nn.Dropout(dropout)

    def encode(self, features: Float[Tensor, "B K D"], mask: Bool[Tensor, "B K"]) -> EncodedRegions:
        """Project regions and mean, and compute what does not change from word to word."""
        projected = self.dropout(self.region(features).relu())
        mean = self.dropout(self.mean(masked_mean(features, mask)).relu())
        h = self.hidden_size
        gates = F.linear(mean, self.attention_lstm.weight_ih[:, h : 2 * h])
        return EncodedRegions(projected, self.key(projected), gates.unsqueeze(1), mask)

    def start(self, memory: EncodedRegions, sequences: int) -> UpDownState:
        """Return zeros."""
        zeros = memory.features.new_zeros(len(memory.features), sequences, self.hidden_size)
        return UpDownState(zeros, zeros, zeros, zeros)

    def step(
        self, words: Int[Tensor, "B N"], memory: EncodedRegions, state: UpDownState
    ) -> tuple[Float[Tensor, "B N V"], Float[Tensor, "B N K"], UpDownState]:
        """Read one word of every sequence."""
        weights, state = self._advance(self._word_gates(words), memory, state)
        return self.logits(self.dropout(state.h2)), weights, state

    def forward(
        self, features: Float[Tensor, "B K D"], mask: Bool[Tensor, "B K"], words: Int[Tensor, "B N T"]
    ) -> Float[Tensor, "B N T V"]:
        """Return the logits of the word after each of ``words``."""
        memory = self.encode(features, mask)
        state, hidden = self.start(memory, words.shape[1]), []
        for gates in self._word_gates(words).unbind(2):
            _, state = self._advance(gates, memory, state)
            hidden.append(state.h2)
        logits: Tensor = self.logits(self.dropout(torch.stack(hidden, 2)))
        return logits

    def _word_gates(self, words: Int[Tensor, "*S"]) -> Float[Tensor, "*S G"]:
        """What words add to the gates of the first LSTM: one product for a whole caption."""
        vectors = self.dropout(self.word(words).relu())
        cell = self.attention_lstm
        return F.linear(vectors, cell.weight_ih[:, 2 * self.hidden_size :], cell.bias_ih + cell.bias_hh)

    def _advance(
        self, word_gates: Float[Tensor, "B N G"], memory: EncodedRegions, state: UpDownState
    ) -> tuple[Float[Tensor, "B N K"], UpDownState]:
        first, second, h = self.attention_lstm, self.language_lstm, self.hidden_size
        gates = word_gates + memory.gates
        gates = gates + F.linear(state.h2, first.weight_ih[:, :h]) + F.linear(state.h1, first.weight_hh)
        h1, c1 = lstm(gates, state.c1)
        weights = self.attention(h1, memory.keys, memory.mask)
        attended = torch.bmm(weights, memory.features)
        gates = F.linear(torch.cat([attended, h1], -1), second.weight_ih, second.bias_ih + second.bias_hh)
        h2, c2 = lstm(gates + F.linear(state.h2, second.weight_hh), state.c2)
        return weights, UpDownState(h1, c1, h2, c2)


def lstm(gates: Float[Tensor, "*S G"], cell: Float[Tensor, "*S H"]) -> tuple[Tensor, Tensor]:
    """Return hidden and cell state from the sums of the four gates, in PyTorch's order i f g o."""
    i, f, g, o = gates.chunk(4, -1)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


class PooledRegions(NamedTuple):
    """The mean region of each image and where its regions are."""

    gates: Float[Tensor, "B 1 G"]
    mask: Bool[Tensor, "B K"]


class LstmState(NamedTuple):
    """Hidden and cell state of one LSTM."""

    h: Float[Tensor, "B N H"]
    c: Float[Tensor, "B N H"]


class MeanPooledCaptioner(nn.Module):
    """A captioner without attention: one LSTM that sees the mean region at every word."""

    def __init__(
        self, *, feature_size: int, vocabulary_size: int, word_size: int, hidden_size: int, dropout: float
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.word = nn.Embedding(vocabulary_size, word_size)
        self.mean = nn.Linear(feature_size, hidden_size)
        self.lstm = nn.LSTMCell(hidden_size + word_size, hidden_size)  # inputs: mean region, word
        self.logits = nn.Linear(hidden_size, vocabulary_size)
        self.dropout = nn.Dropout(dropout)

    def encode(self, features: Float[Tensor, "B K D"], mask: Bool[Tensor, "B K"]) -> PooledRegions:
        """Pool the regions."""
        mean = self.dropout(self.mean(masked_mean(features, mask)).relu())
        gates = F.linear(mean, self.lstm.weight_ih[:, : self.hidden_size])
        return PooledRegions(gates.unsqueeze(1), mask)

    def start(self, memory: PooledRegions, sequences: int) -> LstmState:
        """Return zeros."""
        zeros = memory.gates.new_zeros(len(memory.gates), sequences, self.hidden_size)
        return LstmState(zeros, zeros)

    def step(
        self, words: Int[Tensor, "B N"], memory: PooledRegions, state: LstmState
    ) -> tuple[Float[Tensor, "B N V"], Float[Tensor, "B N K"], LstmState]:
        """Read one word of every sequence; all regions weigh the same."""
        state = self._advance(self._word_gates(words), memory, state)
        weights = memory.mask.to(state.h) / memory.mask.sum(1, keepdim=True)
        weights = weights.unsqueeze(1).expand(-1, words.shape[1], -1)
        return self.logits(self.dropout(state.h)), weights, state

    def forward(
        self, features: Float[Tensor, "B K D"], mask: Bool[Tensor, "B K"], words: Int[Tensor, "B N T"]
    ) -> Float[Tensor, "B N T V"]:
        """Return the logits of the word after each of ``words``."""
        memory = self.encode(features, mask)
        state, hidden = self.start(memory, words.shape[1]), []
        for gates in self._word_gates(words).unbind(2):
            state = self._advance(gates, memory, state)
            hidden.append(state.h)
        logits: Tensor = self.logits(self.dropout(torch.stack(hidden, 2)))
        return logits

    def _word_gates(self, words: Int[Tensor, "*S"]) -> Float[Tensor, "*S G"]:
        vectors = self.dropout(self.word(words).relu())
        bias = self.lstm.bias_ih + self.lstm.bias_hh
        return F.linear(vectors, self.lstm.weight_ih[:, self.hidden_size :], bias)

    def _advance(self, word_gates: Tensor, memory: PooledRegions, state: LstmState) -> LstmState:
        gates = word_gates + memory.gates + F.linear(state.h, self.lstm.weight_hh)
        return LstmState(*lstm(gates, state.c))
