"""The Up-Down captioner of the paper, as its authors released it.

Shapes: B images, N sequences an image, K regions (padded), D region features, H state, A attention, G
four gates of H, V vocabulary.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from bua.models.attention import AdditiveAttention, masked_mean
from bua.models.captioners.base import Step, lstm
from bua.models.captioners.recurrent import RecurrentCaptioner
from bua.models.captioners.updown import UpDownRegions, UpDownState
from bua.models.deferred_linear import deferred_linear
from bua.structures.region_batch import RegionBatch


class CaffeUpDownCaptioner(RecurrentCaptioner[UpDownRegions, UpDownState]):
    """The Up-Down captioner (Anderson et al. 2018, section 3.2, equations 1 to 6) as released in Caffe.

    Features are used as they are, there is no dropout, the attention has no biases, and each LSTM
    is one matrix and one bias: the state before stands once among its inputs. Weights begin at
    N(0, 0.01) as released (smaller models need more), biases at 0, those of the forget gates at 1. On
    the features of a grid this is the paper's ResNet baseline.

    With ``fixed_words`` words are read and said by the same vectors, which do not learn, so that a word
    which no caption has can be said for its likeness to others (Anderson et al. 2017, "Guided Open
    Vocabulary Image Captioning with Constrained Beam Search", section 3.3): v = tanh(W h + b), and the
    logit of a word is the product of v with its vector.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocabulary_size: int,
        word_size: int,
        hidden_size: int,
        attention_size: int,
        weight_std: float = 0.01,
        fixed_words: bool = False,
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.word = nn.Embedding(vocabulary_size, word_size)
        self.key = nn.Linear(feature_size, attention_size, bias=False)
        self.attention = AdditiveAttention(state_size=hidden_size, attention_size=attention_size, bias=False)
        # the attention LSTM, in the parts that are known at different times; states: language, attention
        self.from_word = nn.Linear(word_size, 4 * hidden_size)
        self.from_mean = nn.Linear(feature_size, 4 * hidden_size, bias=False)
        self.from_states = nn.Linear(2 * hidden_size, 4 * hidden_size, bias=False)
        # inputs: new attention state, attended region, language state
        self.language_lstm = nn.Linear(2 * hidden_size + feature_size, 4 * hidden_size)
        self.fixed_words = fixed_words
        self.logits = nn.Linear(hidden_size, word_size if fixed_words else vocabulary_size)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=weight_std)
        for cell in (self.from_word, self.language_lstm):
            nn.init.ones_(cell.bias[hidden_size : 2 * hidden_size])
        self.word.weight.requires_grad_(not fixed_words)

    def encode(self, regions: RegionBatch) -> UpDownRegions:
        """Compute keys, and what the mean of the real regions adds to the first LSTM."""
        gates = self.from_mean(masked_mean(regions.features, regions.mask))
        return UpDownRegions(regions.features, self.key(regions.features), gates.unsqueeze(1), regions.mask)

    def start(self, memory: UpDownRegions, sequences: int) -> UpDownState:
        """Return zeros."""
        zeros = memory.features.new_zeros(len(memory.features), sequences, self.hidden_size)
        return UpDownState(zeros, zeros, zeros, zeros)

    def _word_gates(self, words: Int[Tensor, "*S"]) -> Float[Tensor, "*S G"]:
        gates: Tensor = self.from_word(self.word(words))
        return gates

    def _cell(self, memory: UpDownRegions, reads: int) -> Step[UpDownState]:
        of_states, of_all = (
            deferred_linear(self.from_states.weight),
            deferred_linear(self.language_lstm.weight),
        )
        bias, attend = self.language_lstm.bias, self.attention.over(memory.keys, memory.mask)

        def advance(word_gates: Tensor, state: UpDownState) -> tuple[Tensor, Tensor, UpDownState]:
            gates = word_gates + memory.gates + of_states(torch.cat([state.h2, state.h1], -1))
            h1, c1 = lstm(gates, state.c1)
            weights = attend(h1)
            attended = torch.bmm(weights, memory.features)
            gates = of_all(torch.cat([h1, attended, state.h2], -1)) + bias
            h2, c2 = lstm(gates, state.c2)
            return weights, h2, UpDownState(h1, c1, h2, c2)

        return advance

    def _logits(self, out: Float[Tensor, "*S H"], words: Int[Tensor, "*S"]) -> Float[Tensor, "*S V"]:
        logits: Tensor = self.logits(out)
        return F.linear(logits.tanh(), self.word.weight) if self.fixed_words else logits
