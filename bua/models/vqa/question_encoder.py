"""The question encoder of all VQA models.

Shapes: B questions, T words (padded), P numbers of padding words, V vocabulary, E word vector, Q question.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bua.text.vocabulary import PADDING, UNKNOWN

#: State of a recurrent cell, (B, Q) each: h of a GRU, h and c of an LSTM.
State = tuple[Tensor, ...]
CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


def word_mask(words: Int[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """Return the mask of the words, true everywhere in a question without words."""
    mask = words != PADDING
    return mask | ~mask.any(1, keepdim=True)


class QuestionEncoder(nn.Module):
    """A recurrent network over word vectors; padding is a zero vector and is read like a word.

    The vector of unknown words is initialized with zeros, too, and is trained if the training data contain
    any: where they do not (``data.min_count=1``), a random vector would stay noise.

    Args:
        vocabulary_size: V.
        word_size: E.
        question_size: Q.
        cell: "gru" or "lstm".
        frozen_copy: Whether to concatenate a copy of the initial word vectors that is not trained (Kim et al.
            2018); meant for pretrained word vectors.

    Raises:
        ValueError: If the cell is unknown.
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
            raise ValueError(f"cell must be {' or '.join(CELLS)}, got {cell!r}")
        self.word = nn.Embedding(vocabulary_size, word_size, padding_idx=PADDING)
        nn.init.zeros_(self.word.weight[UNKNOWN])
        in_size = word_size * (2 if frozen_copy else 1)
        self.recurrent = CELLS[cell](in_size, question_size, batch_first=True)
        self.frozen = nn.Embedding(vocabulary_size, word_size, padding_idx=PADDING) if frozen_copy else None
        if self.frozen is not None:
            self.frozen.weight.requires_grad_(False).copy_(self.word.weight.detach())

    @torch.no_grad()
    def init_vectors(self, vectors: Float[Tensor, "V E"]) -> None:
        """Initialize the word vectors; that of padding stays zero."""
        for embedding in (self.word, self.frozen):
            if embedding is not None:
                embedding.weight.copy_(vectors)
                embedding.weight[PADDING] = 0

    def states(self, words: Int[Tensor, "B T"]) -> Float[Tensor, "B T Q"]:
        """Return the hidden state after each word, including padding."""
        states: Tensor = self.recurrent(self._embed(words))[0]
        return states

    def forward(self, words: Int[Tensor, "B T"]) -> Float[Tensor, "B Q"]:
        """Return the last hidden state.

        On a CPU, leading padding is skipped: the state after it is the same for all questions and is computed
        once. Questions are sorted by their leading padding, and each joins the batch at its first word.
        """
        num_padding = (words != PADDING).cumsum(1).eq(0).sum(1).clamp(max=words.shape[1] - 1)
        if words.device.type != "cpu" or not num_padding.any():
            return self.states(words)[:, -1]
        num_joining: list[int] = num_padding.bincount(minlength=words.shape[1]).tolist()
        order = num_padding.argsort()
        after_padding = self._after_padding(int(num_padding.max()))
        state: State = tuple(part[:0] for part in after_padding)
        for t, vectors in enumerate(self._embed(words[order]).unbind(1)):
            if num_joining[t]:
                joining = (part[t].expand(num_joining[t], -1) for part in after_padding)
                state = tuple(torch.cat(parts) for parts in zip(state, joining, strict=True))
            if len(state[0]):
                state = self._step(vectors[: len(state[0])], state)
        return state[0][order.argsort()]

    def _embed(self, words: Int[Tensor, "B T"]) -> Float[Tensor, "B T E"]:
        """Return the word vectors, followed by the frozen ones if there are any."""
        vectors: Tensor = self.word(words)
        return vectors if self.frozen is None else torch.cat([vectors, self.frozen(words)], -1)

    def _after_padding(self, longest: int) -> tuple[Float[Tensor, "P Q"], ...]:
        """Return the states after 0, 1, ..., ``longest`` padding words."""
        padding = self.word.weight.new_zeros(1, self.recurrent.input_size)
        zero = padding.new_zeros(1, self.recurrent.hidden_size)
        states: list[State] = [(zero, zero) if isinstance(self.recurrent, nn.LSTM) else (zero,)]
        for _ in range(longest):
            states.append(self._step(padding, states[-1]))
        return tuple(torch.cat(parts) for parts in zip(*states, strict=True))

    def _step(self, vectors: Float[Tensor, "B E"], state: State) -> State:
        """Return the state after one more word."""
        before = tuple(part.unsqueeze(0) for part in state)
        _, after = self.recurrent(vectors.unsqueeze(1), before if len(before) == 2 else before[0])
        return tuple(part.squeeze(0) for part in (after if isinstance(after, tuple) else (after,)))
