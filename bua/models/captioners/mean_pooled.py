"""A captioner without attention.

Shapes: B images, N sequences an image, K regions (padded), D region features, H state, G four gates of
H, V vocabulary.
"""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from bua.models.attention import masked_mean, uniform_weights
from bua.models.captioners.base import LstmState, LstmWeights, Step, lstm
from bua.models.captioners.recurrent import RecurrentCaptioner
from bua.models.deferred_linear import deferred_linear
from bua.structures.region_batch import RegionBatch


class PooledRegions(NamedTuple):
    """The mean region of each image, and equal weights of its regions."""

    gates: Float[Tensor, "B 1 G"]
    weights: Float[Tensor, "B 1 K"]


class MeanPooledCaptioner(RecurrentCaptioner[PooledRegions, LstmState]):
    """One LSTM that sees the mean region at every word, and no region by itself: the baseline."""

    def __init__(
        self, *, feature_size: int, vocabulary_size: int, word_size: int, hidden_size: int, dropout: float
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.word = nn.Embedding(vocabulary_size, word_size)
        self.mean = nn.Linear(feature_size, hidden_size)
        self.lstm = LstmWeights(hidden_size, mean=hidden_size, word=word_size)
        self.logits = nn.Linear(hidden_size, vocabulary_size)
        self.dropout = nn.Dropout(dropout)

    def encode(self, regions: RegionBatch) -> PooledRegions:
        """Pool the regions."""
        mean = self.dropout(self.mean(masked_mean(regions.features, regions.mask)).relu())
        gates = F.linear(mean, self.lstm.of["mean"])
        return PooledRegions(gates.unsqueeze(1), uniform_weights(regions.mask).to(gates).unsqueeze(1))

    def start(self, memory: PooledRegions, sequences: int) -> LstmState:
        """Return zeros."""
        zeros = memory.gates.new_zeros(len(memory.gates), sequences, self.hidden_size)
        return LstmState(zeros, zeros)

    def _word_gates(self, words: Int[Tensor, "*S"]) -> Float[Tensor, "*S G"]:
        vectors = self.dropout(self.word(words).relu())
        return F.linear(vectors, self.lstm.of["word"], self.lstm.bias)

    def _cell(self, memory: PooledRegions, reads: int) -> Step[LstmState]:
        of_state = deferred_linear(self.lstm.of_state)

        def advance(word_gates: Tensor, state: LstmState) -> tuple[Tensor, Tensor, LstmState]:
            gates = word_gates + memory.gates + of_state(state.h)
            h, c = lstm(gates, state.c)
            return memory.weights.expand(-1, h.shape[1], -1), h, LstmState(h, c)

        return advance

    def _logits(self, out: Float[Tensor, "*S H"], words: Int[Tensor, "*S"]) -> Float[Tensor, "*S V"]:
        logits: Tensor = self.logits(self.dropout(out))
        return logits
