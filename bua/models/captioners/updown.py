"""The Up-Down captioner as most reproductions build it.

Shapes: B images, N sequences an image, K regions (padded), D region features, H state, A attention, G
four gates of H, V vocabulary.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from bua.models.attention import AdditiveAttention, masked_mean
from bua.models.captioners.base import LstmWeights, Step, lstm
from bua.models.captioners.recurrent import RecurrentCaptioner
from bua.models.deferred_linear import deferred_linear
from bua.structures.region_batch import RegionBatch


class UpDownRegions(NamedTuple):
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


class UpDownCaptioner(RecurrentCaptioner[UpDownRegions, UpDownState]):
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
        self.attention = AdditiveAttention(state_size=hidden_size, attention_size=attention_size, bias=True)
        self.attention_lstm = LstmWeights(hidden_size, language=hidden_size, mean=hidden_size, word=word_size)
        self.language_lstm = LstmWeights(hidden_size, region=hidden_size, attention=hidden_size)
        self.logits = nn.Linear(hidden_size, vocabulary_size)
        self.dropout = nn.Dropout(dropout)

    def encode(self, regions: RegionBatch) -> UpDownRegions:
        """Project regions and mean, and compute what does not change from word to word."""
        projected = self.dropout(self.region(regions.features).relu())
        mean = self.dropout(self.mean(masked_mean(regions.features, regions.mask)).relu())
        gates = F.linear(mean, self.attention_lstm.of["mean"])
        return UpDownRegions(projected, self.key(projected), gates.unsqueeze(1), regions.mask)

    def start(self, memory: UpDownRegions, sequences: int) -> UpDownState:
        """Return zeros."""
        zeros = memory.features.new_zeros(len(memory.features), sequences, self.hidden_size)
        return UpDownState(zeros, zeros, zeros, zeros)

    def _word_gates(self, words: Int[Tensor, "*S"]) -> Float[Tensor, "*S G"]:
        vectors = self.dropout(self.word(words).relu())
        return F.linear(vectors, self.attention_lstm.of["word"], self.attention_lstm.bias)

    def _cell(self, memory: UpDownRegions, reads: int) -> Step[UpDownState]:
        first, second = self.attention_lstm, self.language_lstm
        of_states = deferred_linear(torch.cat([first.of["language"], first.of_state], 1))
        # a mean of products is the product of the mean: regions may pass the matrix before they are attended
        early = reads > memory.features.shape[1]
        regions = F.linear(memory.features, second.of["region"]) if early else memory.features
        of_region = (lambda x: x) if early else deferred_linear(second.of["region"])
        of_both = deferred_linear(torch.cat([second.of["attention"], second.of_state], 1))
        bias, attend = second.bias, self.attention.over(memory.keys, memory.mask)

        def advance(word_gates: Tensor, state: UpDownState) -> tuple[Tensor, Tensor, UpDownState]:
            gates = word_gates + memory.gates + of_states(torch.cat([state.h2, state.h1], -1))
            h1, c1 = lstm(gates, state.c1)
            weights = attend(h1)
            gates = of_region(torch.bmm(weights, regions)) + of_both(torch.cat([h1, state.h2], -1)) + bias
            h2, c2 = lstm(gates, state.c2)
            return weights, h2, UpDownState(h1, c1, h2, c2)

        return advance

    def _logits(self, out: Float[Tensor, "*S H"], words: Int[Tensor, "*S"]) -> Float[Tensor, "*S V"]:
        logits: Tensor = self.logits(self.dropout(out))
        return logits
