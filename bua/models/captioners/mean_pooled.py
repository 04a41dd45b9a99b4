"""A captioner without attention, the baseline of the others.

Shapes: B images, N sequences per image, K regions (padded), H hidden state, G = 4 H gates, V vocabulary.
"""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from bua.models.attention import LinearMap, deferred_linear, masked_mean, uniform_weights
from bua.models.captioners.base import LstmState, LstmWeights, RecurrentCaptioner, lstm
from bua.structures.region_batch import RegionBatch


class PooledRegions(NamedTuple):
    """Encoded regions of a batch.

    Attributes:
        gates: What the mean region adds to the gates of the LSTM.
        weights: Equal weights of the regions of each image, reported as attention.
    """

    gates: Float[Tensor, "B 1 G"]
    weights: Float[Tensor, "B 1 K"]


class MeanPooledCaptioner(RecurrentCaptioner[PooledRegions, LstmState, LinearMap]):
    """An LSTM that reads the mean region with every word: the baseline without attention.

    For the mean of the region features v_mean and the vector x_t of the word ::

        m   = dropout(ReLU(W_m v_mean + b_m))
        h_t = LSTM([m, dropout(ReLU(x_t))], h_(t-1))
        p_t = softmax(W_p dropout(h_t) + b_p)

    Args:
        feature_size: Size of a region feature.
        vocabulary_size: V.
        word_size: Size of word vectors.
        hidden_size: H.
        dropout: Dropout of word vectors, of m and of h_t in the output layer.
    """

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
        """Compute what m adds to the gates."""
        mean = self.dropout(self.mean(masked_mean(regions.features, regions.mask)).relu())
        gates = F.linear(mean, self.lstm.weight_ih["mean"])
        return PooledRegions(gates.unsqueeze(1), uniform_weights(regions.mask).to(gates).unsqueeze(1))

    def init_state(self, memory: PooledRegions, num_sequences: int) -> LstmState:
        """Return zeros."""
        zeros = memory.gates.new_zeros(len(memory.gates), num_sequences, self.hidden_size)
        return LstmState(zeros, zeros)

    def word_gates(self, words: Int[Tensor, "*S"]) -> Float[Tensor, "*S G"]:
        """Return what the words and the bias add to the gates."""
        vectors = self.dropout(self.word(words).relu())
        return F.linear(vectors, self.lstm.weight_ih["word"], self.lstm.bias)

    def prepare(self, memory: PooledRegions, num_words: int) -> LinearMap:
        """Return the map from the hidden state to the gates."""
        return deferred_linear(self.lstm.weight_hh)

    def recur(
        self, word_gates: Float[Tensor, "B N G"], memory: PooledRegions, maps: LinearMap, state: LstmState
    ) -> tuple[Float[Tensor, "B N K"], Float[Tensor, "B N H"], LstmState]:
        """Compute h_t."""
        gates = word_gates + memory.gates + maps(state.h)
        h, c = lstm(gates, state.c)
        return memory.weights.expand(-1, h.shape[1], -1), h, LstmState(h, c)

    def predict(self, out: Float[Tensor, "*S H"], words: Int[Tensor, "*S"]) -> Float[Tensor, "*S V"]:
        """Return the logits W_p h_t + b_p."""
        logits: Tensor = self.logits(self.dropout(out))
        return logits
