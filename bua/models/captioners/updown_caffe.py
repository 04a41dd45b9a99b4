"""The Up-Down captioner of the paper, as its authors released it.

Shapes: B images, N sequences per image, K regions (padded), D region features, H hidden state,
A attention, G = 4 H gates, V vocabulary.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from bua.models.attention import AdditiveAttention, LinearMap, deferred_linear, masked_mean
from bua.models.captioners.base import RecurrentCaptioner, lstm
from bua.models.captioners.updown import UpDownRegions, UpDownState
from bua.structures.region_batch import RegionBatch
from bua.text.vocabulary import UNKNOWN


class CaffeUpDownMaps(NamedTuple):
    """Linear maps of the recurrence.

    Attributes:
        attention_lstm: [h2, h1] to the gates of the attention LSTM.
        query: h1 to W_ha h1 of equation 3.
        language_lstm: [h1, v_hat, h2] to the gates of the language LSTM, without their bias.
        language_bias: The bias of these gates.
    """

    attention_lstm: LinearMap
    query: LinearMap
    language_lstm: LinearMap
    language_bias: Float[Tensor, " G"]


class CaffeUpDownCaptioner(RecurrentCaptioner[UpDownRegions, UpDownState, CaffeUpDownMaps]):
    """The Up-Down captioner (Anderson et al. 2018, section 3.2) as its authors released it in Caffe.

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

    The features v_i are used without projection, there is no dropout, and the attention has no biases. Each
    LSTM has one matrix for its inputs and its hidden state together, and one bias. Weights are drawn from
    N(0, 0.01) as in the release (smaller models need a larger deviation), biases start at 0, those of the
    forget gates at 1. With the features of a grid this is the ResNet baseline of the paper.

    With ``fixed_words`` the input and the output layer share word vectors that are not trained, so that the
    model can generate words of no training caption if they are similar to others (Anderson et al. 2017,
    "Guided Open Vocabulary Image Captioning with Constrained Beam Search", section 3.3): the logit of a
    word is the product of its vector with tanh(W_p h2_t + b_p).

    updown-baseline, the captioner of nocaps, feeds h1 to LSTM1 and h2 to LSTM2 a second time: with
    ``doubled_recurrence`` each has another matrix for its own hidden state, and another bias. What the model
    can compute stays the same, but these weights start larger and learn faster.

    Args:
        feature_size: D.
        vocabulary_size: V.
        word_size: Size of word vectors.
        hidden_size: H.
        attention_size: A.
        weight_std: Standard deviation of the initial weights. ``None`` for the initialization of PyTorch:
            word vectors from N(0, 1), and the weights and biases of an LSTM from a uniform distribution up
            to 1 / sqrt(H).
        fixed_words: Whether word vectors are fixed and shared with the output layer.
        doubled_recurrence: Whether each LSTM has a second matrix for its hidden state, and a second bias.
        zero_unknown: Whether the vector of the unknown word is zero and fixed, as in updown-baseline.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocabulary_size: int,
        word_size: int,
        hidden_size: int,
        attention_size: int,
        weight_std: float | None = 0.01,
        fixed_words: bool = False,
        doubled_recurrence: bool = False,
        zero_unknown: bool = False,
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        unknown = UNKNOWN if zero_unknown else None
        self.word = nn.Embedding(vocabulary_size, word_size, padding_idx=unknown)
        self.key = nn.Linear(feature_size, attention_size, bias=False)
        self.attention = AdditiveAttention(state_size=hidden_size, attention_size=attention_size, bias=False)
        # the matrix of the attention LSTM in three parts, as its inputs are known at different times
        self.from_word = nn.Linear(word_size, 4 * hidden_size)
        self.from_mean = nn.Linear(feature_size, 4 * hidden_size, bias=False)
        self.from_states = nn.Linear(2 * hidden_size, 4 * hidden_size, bias=False)  # [h2, h1]
        self.language_lstm = nn.Linear(2 * hidden_size + feature_size, 4 * hidden_size)  # [h1, v_hat, h2]
        self.fixed_words = fixed_words
        self.logits = nn.Linear(hidden_size, word_size if fixed_words else vocabulary_size)
        # a second time h1 to the attention LSTM, and h2 to the language LSTM
        again = [nn.Linear(hidden_size, 4 * hidden_size) if doubled_recurrence else None for _ in range(2)]
        self.attention_again, self.language_again = again
        self._init_lstms() if weight_std is None else self._init_normal(weight_std)
        if zero_unknown:
            nn.init.zeros_(self.word.weight[UNKNOWN])
        self.word.weight.requires_grad_(not fixed_words)

    def _init_normal(self, std: float) -> None:
        """Initialize all weights as in the Caffe release."""
        for name, parameter in self.named_parameters():
            nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.normal_(parameter, std=std)
        for cell in (self.from_word, self.language_lstm):
            nn.init.ones_(cell.bias[self.hidden_size : 2 * self.hidden_size])

    def _init_lstms(self) -> None:
        """Initialize the LSTMs as ``nn.LSTMCell`` does; other layers already are as PyTorch makes them."""
        bound = self.hidden_size**-0.5
        lstms = ("from_", "language_lstm", "attention_again", "language_again")
        for name, parameter in self.named_parameters():
            if name.startswith(lstms):
                nn.init.uniform_(parameter, -bound, bound)

    def encode(self, regions: RegionBatch) -> UpDownRegions:
        """Compute the terms of equations 2, 3 and 5 that depend on the regions alone."""
        v, mask = regions.features, regions.mask
        mean_gates = self.from_mean(masked_mean(v, mask))
        return UpDownRegions(v, self.key(v), mean_gates.unsqueeze(1), mask)

    def init_state(self, memory: UpDownRegions, num_sequences: int) -> UpDownState:
        """Return zeros."""
        zeros = memory.features.new_zeros(len(memory.features), num_sequences, self.hidden_size)
        return UpDownState(zeros, zeros, zeros, zeros)

    def word_gates(self, words: Int[Tensor, "*S"]) -> Float[Tensor, "*S G"]:
        """Return what W_e Pi_t and the bias add to the gates of the attention LSTM, equation 2."""
        gates: Tensor = self.from_word(self.word(words))
        return gates if self.attention_again is None else gates + self.attention_again.bias

    def prepare(self, memory: UpDownRegions, num_words: int) -> CaffeUpDownMaps:
        """Return the linear maps of the recurrence."""
        bias: Tensor = self.language_lstm.bias
        if self.language_again is not None:
            bias = bias + self.language_again.bias
        attention_lstm = deferred_linear(_add_to_last(self.from_states.weight, self.attention_again))
        language_lstm = deferred_linear(_add_to_last(self.language_lstm.weight, self.language_again))
        return CaffeUpDownMaps(attention_lstm, self.attention.make_query(), language_lstm, bias)

    def recur(
        self,
        word_gates: Float[Tensor, "B N G"],
        memory: UpDownRegions,
        maps: CaffeUpDownMaps,
        state: UpDownState,
    ) -> tuple[Float[Tensor, "B N K"], Float[Tensor, "B N H"], UpDownState]:
        """Compute equations 1 to 6."""
        # (2), (1): x1 = [h2, v_mean, W_e Pi], h1 = LSTM1(x1, h1)
        gates = word_gates + memory.mean_gates + maps.attention_lstm(torch.cat([state.h2, state.h1], -1))
        h1, c1 = lstm(gates, state.c1)
        # (3), (4): a_i = w_a tanh(W_va v_i + W_ha h1), alpha = softmax(a)
        alpha = self.attention(memory.keys, maps.query(h1), memory.mask)
        # (5): v_hat = sum_i alpha_i v_i
        v_hat = torch.bmm(alpha, memory.features)
        # (6), (1): x2 = [v_hat, h1], h2 = LSTM2(x2, h2)
        gates = maps.language_lstm(torch.cat([h1, v_hat, state.h2], -1)) + maps.language_bias
        h2, c2 = lstm(gates, state.c2)
        return alpha, h2, UpDownState(h1, c1, h2, c2)

    def predict(self, out: Float[Tensor, "*S H"], words: Int[Tensor, "*S"]) -> Float[Tensor, "*S V"]:
        """Return the logits of equation 7, W_p h2 + b_p, or those of ``fixed_words``."""
        logits: Tensor = self.logits(out)
        return F.linear(logits.tanh(), self.word.weight) if self.fixed_words else logits


def _add_to_last(weight: Float[Tensor, "G I"], again: nn.Linear | None) -> Float[Tensor, "G I"]:
    """Return a matrix plus that of a layer which reads the last part of the same input."""
    if again is None:
        return weight
    return weight + F.pad(again.weight, (weight.shape[1] - again.in_features, 0))
