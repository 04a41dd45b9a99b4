"""The attention captioner of self-critical sequence training.

Shapes: B images, N sequences per image, K regions (padded), H hidden state and projected regions,
A attention, G = 5 H gates, V vocabulary.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bua.models.attention import AdditiveAttention, LinearMap, deferred_linear
from bua.models.captioners.base import AttendedRegions, LstmState, RecurrentCaptioner
from bua.structures.region_batch import RegionBatch


class Att2inMaps(NamedTuple):
    """Linear maps of the recurrence.

    Attributes:
        query: h_(t-1) to W_ah h_(t-1) + b_a.
        hidden: h_(t-1) to the gates and both candidates, the matrices W_ih, W_fh, W_oh, W1_zh and W2_zh.
        region: I_t to both candidates, the matrices W1_zI and W2_zI.
    """

    query: LinearMap
    hidden: LinearMap
    region: LinearMap


class Att2inCaptioner(RecurrentCaptioner[AttendedRegions, LstmState, Att2inMaps]):
    """Att2in (Rennie et al. 2017, section 2.2), in the form that self-critical.pytorch calls att2in2.

    An LSTM whose cell alone receives the attended region I_t; its candidate is a maxout of two linear maps
    instead of a tanh. The regions are attended before the word is read. For region features I_i and the
    vector x_t of the word ::

        a_t,i   = w tanh(W_aI I_i + W_ah h_(t-1) + b_a)
        alpha_t = softmax(a_t + b_alpha)
        I_t     = sum_i alpha_t,i I_i
        i_t     = sigmoid(W_ix x_t + W_ih h_(t-1) + b_i)
        f_t     = sigmoid(W_fx x_t + W_fh h_(t-1) + b_f)
        o_t     = sigmoid(W_ox x_t + W_oh h_(t-1) + b_o)
        z_t     = max_n (Wn_zx x_t + Wn_zh h_(t-1) + Wn_zI I_t + bn_z), n = 1, 2
        c_t     = f_t * c_(t-1) + i_t * z_t
        h_t     = o_t * tanh(c_t)
        s_t     = W_s h_t

    Unlike in the paper, I_i are projections of the features, with ReLU and dropout, word vectors have ReLU
    and dropout, and the output layer has dropout and a bias.

    Args:
        feature_size: Size of a region feature.
        vocabulary_size: V.
        word_size: Size of word vectors.
        hidden_size: H.
        attention_size: A.
        dropout: Dropout of word vectors, projected regions and the input of the output layer.
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
        self.key = nn.Linear(hidden_size, attention_size)
        self.attention = AdditiveAttention(state_size=hidden_size, attention_size=attention_size, bias=True)
        # rows: gates i, f, o, then both candidates
        self.from_word = nn.Linear(word_size, 5 * hidden_size)
        self.from_state = nn.Linear(hidden_size, 5 * hidden_size, bias=False)
        self.from_region = nn.Linear(hidden_size, 2 * hidden_size, bias=False)
        self.logits = nn.Linear(hidden_size, vocabulary_size)
        self.dropout = nn.Dropout(dropout)

    def encode(self, regions: RegionBatch) -> AttendedRegions:
        """Project the regions to I_i and W_aI I_i."""
        features = self.dropout(self.region(regions.features).relu())
        return AttendedRegions(features, self.key(features), regions.mask)

    def init_state(self, memory: AttendedRegions, num_sequences: int) -> LstmState:
        """Return zeros."""
        zeros = memory.features.new_zeros(len(memory.features), num_sequences, self.hidden_size)
        return LstmState(zeros, zeros)

    def word_gates(self, words: Int[Tensor, "*S"]) -> Float[Tensor, "*S G"]:
        """Return W x_t + b of the three gates and both candidates."""
        gates: Tensor = self.from_word(self.dropout(self.word(words).relu()))
        return gates

    def prepare(self, memory: AttendedRegions, num_words: int) -> Att2inMaps:
        """Return the linear maps of the recurrence."""
        hidden, region = deferred_linear(self.from_state.weight), deferred_linear(self.from_region.weight)
        return Att2inMaps(self.attention.make_query(), hidden, region)

    def recur(
        self, word_gates: Float[Tensor, "B N G"], memory: AttendedRegions, maps: Att2inMaps, state: LstmState
    ) -> tuple[Float[Tensor, "B N K"], Float[Tensor, "B N H"], LstmState]:
        """Compute the equations of the class up to h_t."""
        # alpha = softmax_i(w tanh(W_aI I_i + W_ah h + b_a))
        alpha = self.attention(memory.keys, maps.query(state.h), memory.mask)
        # I = sum_i alpha_i I_i
        attended = torch.bmm(alpha, memory.features)
        # W x + W h + b of the gates and of both candidates; Wn_zI I of the candidates
        i, f, o, z1, z2 = (word_gates + maps.hidden(state.h)).chunk(5, -1)
        region1, region2 = maps.region(attended).chunk(2, -1)
        z = torch.maximum(z1 + region1, z2 + region2)
        # c = f * c + i * z, h = o * tanh(c)
        c = f.sigmoid() * state.c + i.sigmoid() * z
        h = o.sigmoid() * c.tanh()
        return alpha, h, LstmState(h, c)

    def predict(self, out: Float[Tensor, "*S H"], words: Int[Tensor, "*S"]) -> Float[Tensor, "*S V"]:
        """Return the logits s_t = W_s h_t + b."""
        logits: Tensor = self.logits(self.dropout(out))
        return logits
