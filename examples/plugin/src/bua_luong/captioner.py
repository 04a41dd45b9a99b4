"""A GRU captioner with multiplicative attention.

Shapes: B images, N sequences per image, T words, K regions (padded), D region features, E word vectors,
H hidden state, V vocabulary.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bua.models.attention import masked_mean, masked_softmax
from bua.models.captioners.base import Captioner, Step
from bua.structures.region_batch import RegionBatch


class Memory(NamedTuple):
    """What the steps need of the regions of a batch.

    Attributes:
        values: Projected regions v_i.
        keys: Their keys W_a v_i.
        mask: True where a region is real, false on padding.
        first: State before the first word.
    """

    values: Float[Tensor, "B K H"]
    keys: Float[Tensor, "B K H"]
    mask: Bool[Tensor, "B K"]
    first: Float[Tensor, "B 1 H"]


class State(NamedTuple):
    """What one step hands to the next; a search selects and repeats sequences along N.

    Attributes:
        hidden: State s_t of the GRU.
        attentional: Vector h_t, which the next step reads.
    """

    hidden: Float[Tensor, "B N H"]
    attentional: Float[Tensor, "B N H"]


class LuongCaptioner(Captioner[Memory, State]):
    """A GRU with the "general" global attention and the input feeding of Luong et al. (2015).

    For region features f_i, the vector x_t of the word that is read, and the equations of that paper ::

        v_i     = tanh(W_v f_i + b_v),  s_0 = tanh(W_0 mean of v_i),  h_0 = 0
        s_t     = GRU([x_t, h_(t-1)], s_(t-1))           (section 3.3, input feeding)
        alpha_t = softmax(s_t . W_a v_i)                 (7, 8: general)
        c_t     = sum_i alpha_t,i v_i
        h_t     = tanh(W_c [c_t, s_t])                   (5)
        p_t     = softmax(W_s dropout(h_t) + b_s)        (6)

    Args:
        feature_size: D.
        vocabulary_size: V.
        word_size: E.
        hidden_size: H.
        dropout: Dropout of word vectors and of h_t in equation 6.
    """

    def __init__(
        self, *, feature_size: int, vocabulary_size: int, word_size: int, hidden_size: int, dropout: float
    ) -> None:
        super().__init__()
        self.word = nn.Embedding(vocabulary_size, word_size)
        self.value = nn.Linear(feature_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size, bias=False)
        self.first = nn.Linear(hidden_size, hidden_size)
        self.gru = nn.GRUCell(word_size + hidden_size, hidden_size)
        self.combine = nn.Linear(2 * hidden_size, hidden_size, bias=False)
        self.logits = nn.Linear(hidden_size, vocabulary_size)
        self.dropout = nn.Dropout(dropout)

    def encode(self, regions: RegionBatch) -> Memory:
        """Compute the values and keys of the regions, and s_0; runs once per batch of images."""
        values = self.value(regions.features).tanh()
        first = self.first(masked_mean(values, regions.mask)).tanh()
        return Memory(values, self.key(values), regions.mask, first.unsqueeze(1))

    def init_state(self, memory: Memory, num_sequences: int) -> State:
        """Return s_0 and h_0."""
        hidden = memory.first.expand(-1, num_sequences, -1)
        return State(hidden, torch.zeros_like(hidden))

    def make_step(self, memory: Memory) -> Step[State]:
        """Return the function that reads one word (B, N) of every sequence."""

        def step(words: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
            attention, state = self.read(self.dropout(self.word(words)), memory, state)
            return self.logits(self.dropout(state.attentional)), attention, state

        compiled: Step[State] = self._compiled(step)
        return compiled

    def read(
        self, vectors: Float[Tensor, "B N E"], memory: Memory, state: State
    ) -> tuple[Float[Tensor, "B N K"], State]:
        """Read the vector of one word of every sequence; return alpha_t, and s_t with h_t."""
        inputs = torch.cat([vectors, state.attentional], -1)
        hidden = self.gru(inputs.flatten(0, 1), state.hidden.flatten(0, 1)).view_as(state.hidden)
        scores = hidden @ memory.keys.transpose(1, 2)
        attention = masked_softmax(scores, memory.mask.unsqueeze(1))
        context = attention @ memory.values
        return attention, State(hidden, self.combine(torch.cat([context, hidden], -1)).tanh())

    def forward(
        self,
        regions: RegionBatch,
        words: Int[Tensor, "B N T"],
        selected: Bool[Tensor, "B N T"] | None = None,
    ) -> Float[Tensor, "*S V"]:
        """Return the logits of the word after each of the given words, or after the selected ones."""
        memory = self.encode(regions)
        state = self.init_state(memory, words.shape[1])
        vectors, outputs = self.dropout(self.word(words)), []
        for t in range(words.shape[2]):
            _, state = self.read(vectors[:, :, t], memory, state)
            outputs.append(state.attentional)
        out = torch.stack(outputs, 2)
        logits: Tensor = self.logits(self.dropout(out if selected is None else out[selected]))
        return logits
