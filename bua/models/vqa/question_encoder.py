"""What a model knows of a question.

Shapes: B questions, T words (padded), V vocabulary, E word vector, Q question.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bua.text.vocabulary import PADDING, UNKNOWN

#: Of a recurrent network: h, or h and c; (B, Q) each.
State = tuple[Tensor, ...]
CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


def word_mask(words: Int[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """Return where a word is; a question without words counts its padding, so as to have something."""
    there = words != PADDING
    return there | ~there.any(1, keepdim=True)


class QuestionEncoder(nn.Module):
    """A recurrent network over word vectors, of which padding is the zero vector, and read as such.

    An unknown word begins as the zero vector, too, and is learnt where there are any to train on: with
    every word of the training known (``data.min_count=1``) a random one would stay noise.

    Args:
        vocabulary_size: V.
        word_size: E.
        question_size: Q.
        cell: gru or lstm.
        frozen_copy: read, behind each word vector, what it was before training, too (Kim et al. 2018):
            for a training that begins with known word vectors.

    Raises:
        ValueError: there is no such cell.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        word_size: int,
        question_size: int,
        cell: str = "gru",
        frozen_copy: bool = False,
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"there is no cell {cell!r}; there is {', '.join(CELLS)}")
        self.word = nn.Embedding(vocabulary_size, word_size, padding_idx=PADDING)
        nn.init.zeros_(self.word.weight[UNKNOWN])
        in_size = word_size * (2 if frozen_copy else 1)
        self.recurrent = CELLS[cell](in_size, question_size, batch_first=True)
        self.frozen = nn.Embedding(vocabulary_size, word_size, padding_idx=PADDING) if frozen_copy else None
        if self.frozen is not None:
            self.frozen.weight.requires_grad_(False).copy_(self.word.weight.detach())

    @torch.no_grad()
    def begin(self, vectors: Float[Tensor, "V E"]) -> None:
        """Begin with known word vectors; that of padding stays zero."""
        for word in (self.word, self.frozen):
            if word is not None:
                word.weight.copy_(vectors)
                word.weight[PADDING] = 0

    def states(self, words: Int[Tensor, "B T"]) -> Float[Tensor, "B T Q"]:
        """Return the state after each word, padding included."""
        states: Tensor = self.recurrent(self._read(words))[0]
        return states

    def forward(self, words: Int[Tensor, "B T"]) -> Float[Tensor, "B Q"]:
        """Return the last state.

        The state after padding is the same for all questions, so what stands in front is read once, and
        a question joins the others, sorted by how much padding it has, at its first word.
        """
        padding = (words != PADDING).cumsum(1).eq(0).sum(1).clamp(max=words.shape[1] - 1)
        if words.device.type != "cpu" or not padding.any():  # elsewhere one call reads all at once
            return self.states(words)[:, -1]
        joining: list[int] = padding.bincount(minlength=words.shape[1]).tolist()
        order = padding.argsort()
        after = self._after_padding(int(padding.max()))
        state: State = tuple(part[:0] for part in after)
        for t, word in enumerate(self._read(words[order]).unbind(1)):
            if joining[t]:
                joined = (part[t].expand(joining[t], -1) for part in after)
                state = tuple(torch.cat(parts) for parts in zip(state, joined, strict=True))
            if len(state[0]):
                state = self._step(word[: len(state[0])], state)
        return state[0][order.argsort()]

    def _read(self, words: Int[Tensor, "B T"]) -> Float[Tensor, "B T E"]:
        """Return what is read of each word."""
        vectors: Tensor = self.word(words)
        return vectors if self.frozen is None else torch.cat([vectors, self.frozen(words)], -1)

    def _after_padding(self, most: int) -> tuple[Float[Tensor, "P Q"], ...]:
        """Return the state after 0, 1, ..., ``most`` words of padding."""
        nothing = self.word.weight.new_zeros(1, self.recurrent.input_size)
        zero = nothing.new_zeros(1, self.recurrent.hidden_size)
        states: list[State] = [(zero, zero) if isinstance(self.recurrent, nn.LSTM) else (zero,)]
        for _ in range(most):
            states.append(self._step(nothing, states[-1]))
        return tuple(torch.cat(parts) for parts in zip(*states, strict=True))

    def _step(self, read: Float[Tensor, "B E"], state: State) -> State:
        """Return the state after one more word."""
        before = tuple(part.unsqueeze(0) for part in state)
        _, after = self.recurrent(read.unsqueeze(1), before if len(before) == 2 else before[0])
        return tuple(part.squeeze(0) for part in (after if isinstance(after, tuple) else (after,)))
