"""The Up-Down captioner as most reproductions build it.

Shapes: B images, N sequences per image, K regions (padded), H hidden state and projected regions,
A attention, G = 4 H gates, V vocabulary.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from bua.models.attention import AdditiveAttention, LinearMap, deferred_linear, masked_mean
from bua.models.captioners.base import LstmWeights, RecurrentCaptioner, lstm
from bua.structures.region_batch import RegionBatch


class UpDownRegions(NamedTuple):
    """Encoded regions of a batch.

    Attributes:
        features: Region features v_i.
        keys: W_va v_i of equation 3.
        mean_gates: What v_mean adds to the gates of the attention LSTM, equation 2.
        mask: True where a region is real, false on padding.
    """

    features: Float[Tensor, "B K H"]
    keys: Float[Tensor, "B K A"]
    mean_gates: Float[Tensor, "B 1 G"]
    mask: Bool[Tensor, "B K"]


class UpDownState(NamedTuple):
    """Hidden and cell state of the attention LSTM (h1, c1) and of the language LSTM (h2, c2)."""

    h1: Float[Tensor, "B N H"]
    c1: Float[Tensor, "B N H"]
    h2: Float[Tensor, "B N H"]
    c2: Float[Tensor, "B N H"]


class UpDownMaps(NamedTuple):
    """Linear maps of the recurrence.

    Attributes:
        attention_lstm: [h2, h1] to the gates of the attention LSTM.
        query: h1 to W_ha h1 of equation 3.
        values: The vectors that attention averages: v_i, or what they add to the gates of the language LSTM.
        region: Average of ``values`` to the gates of the language LSTM.
        language_lstm: [h1, h2] to the gates of the language LSTM.
        language_bias: Bias of the language LSTM.
    """

    attention_lstm: LinearMap
    query: LinearMap
    values: Tensor
    region: LinearMap
    language_lstm: LinearMap
    language_bias: Tensor


class UpDownCaptioner(RecurrentCaptioner[UpDownRegions, UpDownState, UpDownMaps]):
    """The Up-Down captioner (Anderson et al. 2018, section 3.2) as self-critical.pytorch builds it.

    The attention LSTM (LSTM1) controls the attention, the language LSTM (LSTM2) predicts the next word. For
    region features v_i, their mean v_mean and the word with the one-hot vector Pi_t ::

        x1_t    = [h2_(t-1), v_mean, W_e Pi_t]          (2)
        h1_t    = LSTM1(x1_t, h1_(t-1))                 (1)
        a_t,i   = w_a tanh(W_va v_i + W_ha h1_t)        (3)
        alpha_t = softmax(a_t)                          (4)
        v_hat_t = sum_i alpha_t,i v_i                   (5)
        x2_t    = [v_hat_t, h1_t]                       (6)
        h2_t    = LSTM2(x2_t, h2_(t-1))                 (1)
        p_t     = softmax(W_p h2_t + b_p)               (7)

    Unlike in the paper, v_i and v_mean are projections of the features, with ReLU and dropout, word vectors
    have ReLU and dropout too, the output layer has dropout, and the attention has biases.

    Args:
        feature_size: Size of a region feature.
        vocabulary_size: V.
        word_size: Size of word vectors.
        hidden_size: H.
        attention_size: A.
        dropout: Dropout of word vectors, projected regions and mean, and the input of the output layer.
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
        """Compute the terms of equations 2, 3 and 5 that depend on the regions alone."""
        v = self.dropout(self.region(regions.features).relu())
        v_mean = self.dropout(self.mean(masked_mean(regions.features, regions.mask)).relu())
        mean_gates = F.linear(v_mean, self.attention_lstm.weight_ih["mean"])
        return UpDownRegions(v, self.key(v), mean_gates.unsqueeze(1), regions.mask)

    def init_state(self, memory: UpDownRegions, num_sequences: int) -> UpDownState:
        """Return zeros."""
        zeros = memory.features.new_zeros(len(memory.features), num_sequences, self.hidden_size)
        return UpDownState(zeros, zeros, zeros, zeros)

    def word_gates(self, words: Int[Tensor, "*S"]) -> Float[Tensor, "*S G"]:
        """Return what W_e Pi_t and the bias add to the gates of the attention LSTM, equation 2."""
        vectors = self.dropout(self.word(words).relu())
        return F.linear(vectors, self.attention_lstm.weight_ih["word"], self.attention_lstm.bias)

    def prepare(self, memory: UpDownRegions, num_words: int) -> UpDownMaps:
        """Return the linear maps of the recurrence, matrices that multiply together being concatenated."""
        lstm1, lstm2 = self.attention_lstm, self.language_lstm
        attention_lstm = deferred_linear(torch.cat([lstm1.weight_ih["language"], lstm1.weight_hh], 1))
        # W sum_i(alpha_i v_i) = sum_i(alpha_i W v_i): multiply all regions or all v_hat, whichever are fewer
        values = memory.features
        region: LinearMap = _identity
        if num_words > values.shape[1]:
            values = F.linear(values, lstm2.weight_ih["region"])
        else:
            region = deferred_linear(lstm2.weight_ih["region"])
        language_lstm = deferred_linear(torch.cat([lstm2.weight_ih["attention"], lstm2.weight_hh], 1))
        return UpDownMaps(
            attention_lstm, self.attention.make_query(), values, region, language_lstm, lstm2.bias
        )

    def recur(
        self, word_gates: Float[Tensor, "B N G"], memory: UpDownRegions, maps: UpDownMaps, state: UpDownState
    ) -> tuple[Float[Tensor, "B N K"], Float[Tensor, "B N H"], UpDownState]:
        """Compute equations 1 to 6."""
        # (2), (1): x1 = [h2, v_mean, W_e Pi], h1 = LSTM1(x1, h1)
        gates = word_gates + memory.mean_gates + maps.attention_lstm(torch.cat([state.h2, state.h1], -1))
        h1, c1 = lstm(gates, state.c1)
        # (3), (4): a_i = w_a tanh(W_va v_i + W_ha h1), alpha = softmax(a)
        alpha = self.attention(memory.keys, maps.query(h1), memory.mask)
        # (5): v_hat = sum_i alpha_i v_i
        v_hat = torch.bmm(alpha, maps.values)
        # (6), (1): x2 = [v_hat, h1], h2 = LSTM2(x2, h2)
        gates = maps.region(v_hat) + maps.language_lstm(torch.cat([h1, state.h2], -1)) + maps.language_bias
        h2, c2 = lstm(gates, state.c2)
        return alpha, h2, UpDownState(h1, c1, h2, c2)

    def predict(self, out: Float[Tensor, "*S H"], words: Int[Tensor, "*S"]) -> Float[Tensor, "*S V"]:
        """Return the logits of equation 7, W_p h2 + b_p."""
        logits: Tensor = self.logits(self.dropout(out))
        return logits


def _identity(x: Tensor) -> Tensor:
    return x
