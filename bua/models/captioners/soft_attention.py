"""Show, Attend and Tell, with soft attention.

Shapes: B images, N sequences an image, K regions (padded), D region features, E word vector, H state,
A attention, G four gates of H, O state and attended region side by side, V vocabulary.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from bua.models.attention import AdditiveAttention, masked_mean
from bua.models.captioners.base import LstmState, LstmWeights, Step, lstm
from bua.models.captioners.recurrent import RecurrentCaptioner
from bua.models.deferred_linear import deferred_linear
from bua.structures.region_batch import RegionBatch


class SoftRegions(NamedTuple):
    """Regions of a batch, encoded once, and the state that their mean begins with."""

    features: Float[Tensor, "B K D"]
    keys: Float[Tensor, "B K A"]
    mask: Bool[Tensor, "B K"]
    h: Float[Tensor, "B 1 H"]
    c: Float[Tensor, "B 1 H"]


class SoftAttentionCaptioner(RecurrentCaptioner[SoftRegions, LstmState]):
    """Deterministic "soft" attention (Xu et al. 2015, sections 3.1.2 and 4.2).

    The state begins as a layer with tanh over the mean region, one for h and one for c. One LSTM
    reads the word and z, the attended region times a gate beta that the state before decides
    (section 4.2.1); a word is said from all three, L_o (E y + L_h h + L_z z) (equation 7). Where
    to look follows from the state before the word is read. Dropout, as in the authors' code, is
    on h and on that sum. Features are used as they are.
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
        """Compute keys and the first state."""
        mean = masked_mean(regions.features, regions.mask).unsqueeze(1)
        h, c = self.first_h(mean).tanh(), self.first_c(mean).tanh()
        return SoftRegions(regions.features, self.key(regions.features), regions.mask, h, c)

    def start(self, memory: SoftRegions, sequences: int) -> LstmState:
        """Return the state that the mean region begins with."""
        return LstmState(memory.h.expand(-1, sequences, -1), memory.c.expand(-1, sequences, -1))

    def _word_gates(self, words: Int[Tensor, "*S"]) -> Float[Tensor, "*S G"]:
        return F.linear(self.word(words), self.lstm.of["word"], self.lstm.bias)

    def _cell(self, memory: SoftRegions, reads: int) -> Step[LstmState]:
        of_region = deferred_linear(self.lstm.of["region"])
        of_state, attend = deferred_linear(self.lstm.of_state), self.attention.over(memory.keys, memory.mask)

        def advance(word_gates: Tensor, state: LstmState) -> tuple[Tensor, Tensor, LstmState]:
            weights = attend(state.h)
            z = self.beta(state.h).sigmoid() * torch.bmm(weights, memory.features)
            gates = word_gates + of_region(z) + of_state(state.h)
            h, c = lstm(gates, state.c)
            return weights, torch.cat([h, z], -1), LstmState(h, c)

        return advance

    def _logits(self, out: Float[Tensor, "*S O"], words: Int[Tensor, "*S"]) -> Float[Tensor, "*S V"]:
        h, z = out[..., : self.hidden_size], out[..., self.hidden_size :]
        said = self.word(words) + self.from_state(self.dropout(h)) + self.from_region(z)
        logits: Tensor = self.logits(self.dropout(said))
        return logits
