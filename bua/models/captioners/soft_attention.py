"""Show, Attend and Tell, with soft attention.

Shapes: B images, N sequences per image, K regions (padded), D region features, H hidden state,
A attention, G = 4 H gates, O = H + D, V vocabulary.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from bua.models.attention import AdditiveAttention, LinearMap, deferred_linear, masked_mean
from bua.models.captioners.base import LstmState, LstmWeights, RecurrentCaptioner, lstm
from bua.structures.region_batch import RegionBatch


class SoftRegions(NamedTuple):
    """Encoded regions of a batch.

    Attributes:
        features: Region features a_i.
        keys: Their projections in f_att of equation 4.
        mask: True where a region is real, false on padding.
        h: Initial hidden state h_0.
        c: Initial cell state c_0.
    """

    features: Float[Tensor, "B K D"]
    keys: Float[Tensor, "B K A"]
    mask: Bool[Tensor, "B K"]
    h: Float[Tensor, "B 1 H"]
    c: Float[Tensor, "B 1 H"]


class SoftAttentionMaps(NamedTuple):
    """Linear maps of the recurrence.

    Attributes:
        query: h_(t-1) to its projection in f_att of equation 4.
        region: z_t to the gates of equation 1.
        hidden: h_(t-1) to the gates of equation 1.
    """

    query: LinearMap
    region: LinearMap
    hidden: LinearMap


class SoftAttentionCaptioner(RecurrentCaptioner[SoftRegions, LstmState, SoftAttentionMaps]):
    """Show, Attend and Tell with deterministic "soft" attention (Xu et al. 2015, sections 3.1.2 and 4.2).

    The regions are attended before the word is read. For region features a_i and the word y_(t-1) ::

        c_0, h_0   = f_init,c(mean of a_i), f_init,h(mean of a_i)
        e_t,i      = f_att(a_i, h_(t-1))                                            (4)
        alpha_t    = softmax(e_t)                                                   (5)
        beta_t     = sigmoid(f_beta(h_(t-1)))
        z_t        = beta_t sum_i alpha_t,i a_i                                     (6)
        i, f, o, g = sigmoid, sigmoid, sigmoid, tanh of T[E y_(t-1), h_(t-1), z_t]  (1)
        c_t        = f * c_(t-1) + i * g                                            (2)
        h_t        = o * tanh(c_t)                                                  (3)
        p(y_t)     = softmax(L_o (E y_(t-1) + L_h h_t + L_z z_t))                   (7)

    The gate beta_t is that of section 4.2.1. Each f_init is a linear layer with tanh, f_att is additive
    attention. As in the authors' code, dropout applies to h_t in equation 7 and to the sum. The features are
    used without projection.

    Args:
        feature_size: Size of a region feature.
        vocabulary_size: V.
        word_size: Size of word vectors.
        hidden_size: H.
        attention_size: A.
        dropout: Dropout of h_t and the sum in equation 7.
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
        self.first_h = nn.Linear(feature_size, hidden_size)
        self.first_c = nn.Linear(feature_size, hidden_size)
        self.key = nn.Linear(feature_size, attention_size)
        self.attention = AdditiveAttention(state_size=hidden_size, attention_size=attention_size, bias=True)
        self.beta = nn.Linear(hidden_size, 1)
        self.lstm = LstmWeights(hidden_size, word=word_size, region=feature_size)
        self.from_state = nn.Linear(hidden_size, word_size)
        self.from_region = nn.Linear(feature_size, word_size, bias=False)
        self.logits = nn.Linear(word_size, vocabulary_size)
        self.dropout = nn.Dropout(dropout)

    def encode(self, regions: RegionBatch) -> SoftRegions:
        """Compute the initial state, and the terms of equation 4 that depend on the regions alone."""
        mean = masked_mean(regions.features, regions.mask).unsqueeze(1)
        h, c = self.first_h(mean).tanh(), self.first_c(mean).tanh()
        return SoftRegions(regions.features, self.key(regions.features), regions.mask, h, c)

    def init_state(self, memory: SoftRegions, num_sequences: int) -> LstmState:
        """Return h_0 and c_0."""
        return LstmState(memory.h.expand(-1, num_sequences, -1), memory.c.expand(-1, num_sequences, -1))

    def word_gates(self, words: Int[Tensor, "*S"]) -> Float[Tensor, "*S G"]:
        """Return what E y_(t-1) and the bias add to the gates of equation 1."""
        return F.linear(self.word(words), self.lstm.weight_ih["word"], self.lstm.bias)

    def prepare(self, memory: SoftRegions, num_words: int) -> SoftAttentionMaps:
        """Return the linear maps of the recurrence."""
        region, hidden = deferred_linear(self.lstm.weight_ih["region"]), deferred_linear(self.lstm.weight_hh)
        return SoftAttentionMaps(self.attention.make_query(), region, hidden)

    def recur(
        self,
        word_gates: Float[Tensor, "B N G"],
        memory: SoftRegions,
        maps: SoftAttentionMaps,
        state: LstmState,
    ) -> tuple[Float[Tensor, "B N K"], Float[Tensor, "B N O"], LstmState]:
        """Compute equations 1 to 6 and return [h_t, z_t] for equation 7."""
        # (4), (5): e_i = f_att(a_i, h), alpha = softmax(e)
        alpha = self.attention(memory.keys, maps.query(state.h), memory.mask)
        # (6): z = beta sum_i alpha_i a_i
        beta = self.beta(state.h).sigmoid()
        z = beta * torch.bmm(alpha, memory.features)
        # (1) to (3): (i, f, o, g) = T[E y, h, z], c = f * c + i * g, h = o * tanh(c)
        gates = word_gates + maps.region(z) + maps.hidden(state.h)
        h, c = lstm(gates, state.c)
        return alpha, torch.cat([h, z], -1), LstmState(h, c)

    def predict(self, out: Float[Tensor, "*S O"], words: Int[Tensor, "*S"]) -> Float[Tensor, "*S V"]:
        """Return the logits of equation 7, L_o (E y_(t-1) + L_h h_t + L_z z_t)."""
        h, z = out[..., : self.hidden_size], out[..., self.hidden_size :]
        hidden = self.word(words) + self.from_state(self.dropout(h)) + self.from_region(z)
        logits: Tensor = self.logits(self.dropout(hidden))
        return logits
