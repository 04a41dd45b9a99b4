"""The attention captioner of self-critical sequence training.

Shapes: B images, N sequences an image, K regions (padded), D region features, H state, A attention, G
five gates of H, V vocabulary.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bua.models.attention import AdditiveAttention
from bua.models.captioners.base import LstmState, Step
from bua.models.captioners.recurrent import AttendedRegions, RecurrentCaptioner
from bua.models.deferred_linear import deferred_linear
from bua.structures.region_batch import RegionBatch


class Att2inCaptioner(RecurrentCaptioner[AttendedRegions, LstmState]):
    """Att2in (Rennie et al. 2017, section 2.2), in the form that self-critical.pytorch calls att2in2.

    Word x, attended region v and the state before make the next state ::

        i, f, o = sigmoid(W x + U h' + b), of each gate
        c = f c' + i max(W1 x + U1 h' + Z1 v + b1, W2 x + U2 h' + Z2 v + b2)
        h = o tanh(c)

    so that the region enters through the candidate alone, and the candidate is a maxout of two
    instead of a tanh. Where to look follows from the state before the word is read. Unlike in the
    paper, regions are projected and word vectors rectified, each with ReLU and dropout.
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
        """Project regions and compute their keys."""
        projected = self.dropout(self.region(regions.features).relu())
        return AttendedRegions(projected, self.key(projected), regions.mask)

    def start(self, memory: AttendedRegions, sequences: int) -> LstmState:
        """Return zeros."""
        zeros = memory.features.new_zeros(len(memory.features), sequences, self.hidden_size)
        return LstmState(zeros, zeros)

    def _word_gates(self, words: Int[Tensor, "*S"]) -> Float[Tensor, "*S G"]:
        gates: Tensor = self.from_word(self.dropout(self.word(words).relu()))
        return gates

    def _cell(self, memory: AttendedRegions, reads: int) -> Step[LstmState]:
        attend = self.attention.over(memory.keys, memory.mask)
        of_state, of_region = (
            deferred_linear(self.from_state.weight),
            deferred_linear(self.from_region.weight),
        )

        def advance(word_gates: Tensor, state: LstmState) -> tuple[Tensor, Tensor, LstmState]:
            weights = attend(state.h)
            attended = torch.bmm(weights, memory.features)
            i, f, o, one, other = (word_gates + of_state(state.h)).chunk(5, -1)
            into_one, into_other = of_region(attended).chunk(2, -1)
            candidate = torch.maximum(one + into_one, other + into_other)
            c = f.sigmoid() * state.c + i.sigmoid() * candidate
            h = o.sigmoid() * c.tanh()
            return weights, h, LstmState(h, c)

        return advance

    def _logits(self, out: Float[Tensor, "*S H"], words: Int[Tensor, "*S"]) -> Float[Tensor, "*S V"]:
        logits: Tensor = self.logits(self.dropout(out))
        return logits
