"""What training and decoding expect of a captioner, and what recurrent captioners have in common.

Shapes: B images, N sequences per image, T words, K regions (padded), D region features, A attention,
H hidden state, G gates (4 H for an LSTM), O input of the output layer, V vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bua.structures.region_batch import RegionBatch

#: Encoded regions of a batch: a named tuple of tensors (B, ...).
Memory = TypeVar("Memory", bound=tuple[object, ...])
#: Decoder state: a named tuple of tensors (B, N, ...), or of tuples of such tensors.
State = TypeVar("State", bound=tuple[object, ...])
#: Takes words (B, N) and a state; returns logits (B, N, V), attention (B, N, K) and the next state.
Step = Callable[[Tensor, State], tuple[Tensor, Tensor, State]]


class Captioner(nn.Module, ABC, Generic[Memory, State]):
    """A network that generates captions from regions, word by word.

    ``encode`` runs once per batch of images, ``init_state`` gives the state before the first word, and
    ``make_step`` gives the function that reads one word of each of N sequences per image. Because every
    tensor of a state starts with (B, N), a search can continue with any selection of its sequences. A
    tensor of the state may grow with every step.
    """

    @abstractmethod
    def encode(self, regions: RegionBatch) -> Memory:
        """Return everything the steps need of the regions."""

    @abstractmethod
    def init_state(self, memory: Memory, num_sequences: int) -> State:
        """Return the state before the first word."""

    @abstractmethod
    def make_step(self, memory: Memory) -> Step[State]:
        """Return the step function over these regions, with all work that no word changes already done.

        The step takes words (B, N) and a state. It returns the logits (B, N, V) of the next words, the
        attention over the regions (B, N, K) and the next state.
        """

    def step(
        self, words: Int[Tensor, "B N"], memory: Memory, state: State
    ) -> tuple[Float[Tensor, "B N V"], Float[Tensor, "B N K"], State]:
        """Read one word of every sequence; for many steps, ``make_step`` is faster."""
        return self.make_step(memory)(words, state)

    @abstractmethod
    def forward(
        self,
        regions: RegionBatch,
        words: Int[Tensor, "B N T"],
        selected: Bool[Tensor, "B N T"] | None = None,
    ) -> Float[Tensor, "*S V"]:
        """Predict the word after each of the given words (teacher forcing).

        Args:
            regions: Regions of the images.
            words: Words that are read, from the beginning token on.
            selected: True at the positions whose logits are returned; all by default.

        Returns:
            Logits (B, N, T, V), or (M, V) for M selected positions.
        """

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the step with ``torch.compile`` and its arguments; parameters keep their names."""
        self._compiled = partial(torch.compile, *args, **kwargs)

    #: Applied to the functions that do the work of a step; the identity unless ``compile`` was called.
    _compiled: Callable[[Any], Any] = staticmethod(lambda function: function)


#: Linear maps of the recurrence, see ``RecurrentCaptioner.prepare``.
Maps = TypeVar("Maps")


class RecurrentCaptioner(Captioner[Memory, State], Generic[Memory, State, Maps]):
    """A captioner whose step is that of a recurrent network.

    The equations of a model are spread over four methods, so that only the recurrence itself runs word by
    word. Under teacher forcing all words are known in advance: ``word_gates`` then runs once before the
    loop over the words and ``predict`` once after it, each for whole captions. ``prepare`` runs once per
    batch, ``recur`` once per word. Compilation applies to the step; a compiled loop would have to be
    compiled again for every caption length.
    """

    def make_step(self, memory: Memory) -> Step[State]:
        """Return the step function over these regions, with all work that no word changes already done."""
        maps = self.prepare(memory, 0)

        def step(words: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
            attention, out, state = self.recur(self.word_gates(words), memory, maps, state)
            return self.predict(out, words), attention, state

        compiled: Step[State] = self._compiled(step)
        return compiled

    def forward(
        self,
        regions: RegionBatch,
        words: Int[Tensor, "B N T"],
        selected: Bool[Tensor, "B N T"] | None = None,
    ) -> Float[Tensor, "*S V"]:
        """Return the logits of the word after each of the given words."""
        memory = self.encode(regions)
        state = self.init_state(memory, words.shape[1])
        maps = self.prepare(memory, words.shape[1] * words.shape[2])
        recur, outputs = self._compiled(self.recur), []
        for gates in self.word_gates(words).unbind(2):
            _, out, state = recur(gates, memory, maps, state)
            outputs.append(out)
        out = torch.stack(outputs, 2)
        if selected is not None:
            out, words = out[selected], words[selected]
        return self.predict(out, words)

    @abstractmethod
    def word_gates(self, words: Int[Tensor, "*S"]) -> Float[Tensor, "*S G"]:
        """Return the terms of the gates that depend on the words alone."""

    @abstractmethod
    def prepare(self, memory: Memory, num_words: int) -> Maps:
        """Return the linear maps that ``recur`` applies, see ``deferred_linear``.

        Args:
            memory: Encoded regions.
            num_words: Number of words that will be read of every image, 0 if unknown.
        """

    @abstractmethod
    def recur(
        self, word_gates: Float[Tensor, "B N G"], memory: Memory, maps: Maps, state: State
    ) -> tuple[Float[Tensor, "B N K"], Float[Tensor, "B N O"], State]:
        """Read one word of every sequence.

        Args:
            word_gates: Result of ``word_gates`` for these words.
            memory: Encoded regions.
            maps: Result of ``prepare`` for these regions.
            state: State before the words.

        Returns:
            Attention over the regions, the input of ``predict``, and the next state.
        """

    @abstractmethod
    def predict(self, out: Float[Tensor, "*S O"], words: Int[Tensor, "*S"]) -> Float[Tensor, "*S V"]:
        """Return the logits of the next words from results of ``recur`` and the words that were read."""


class AttendedRegions(NamedTuple):
    """Encoded regions of a batch.

    Attributes:
        features: Vectors that attention averages.
        keys: Projections of the features that attention scores.
        mask: True where a region is real, false on padding.
    """

    features: Float[Tensor, "B K D"]
    keys: Float[Tensor, "B K A"]
    mask: Bool[Tensor, "B K"]


class LstmState(NamedTuple):
    """Hidden and cell state of one LSTM."""

    h: Float[Tensor, "B N H"]
    c: Float[Tensor, "B N H"]


class LstmWeights(nn.Module):
    """Weights of an LSTM, with a separate input matrix for each of its inputs.

    Inputs such as words and regions are known at different times, so each is multiplied when it is known.
    Concatenated, the matrices are the ``weight_ih`` of an ``nn.LSTMCell``, which also initializes them.
    Slices of one matrix would not do: the gradient of every slice is as large as the whole matrix.

    Args:
        hidden_size: H.
        inputs: Size of each input, by name.
    """

    def __init__(self, hidden_size: int, **inputs: int) -> None:
        super().__init__()
        cell = nn.LSTMCell(sum(inputs.values()), hidden_size)
        parts = torch.split(cell.weight_ih.detach(), list(inputs.values()), 1)
        # checkpoints call the parameters "of.NAME" and "of_state"
        self.of = nn.ParameterDict(
            {name: nn.Parameter(part.clone()) for name, part in zip(inputs, parts, strict=True)}
        )
        self.of_state = cell.weight_hh
        self.bias_ih, self.bias_hh = cell.bias_ih, cell.bias_hh

    @property
    def weight_ih(self) -> nn.ParameterDict:
        """Input matrices (G, input size), by name."""
        return self.of

    @property
    def weight_hh(self) -> Float[Tensor, "G H"]:
        """Recurrent matrix."""
        return self.of_state

    @property
    def bias(self) -> Float[Tensor, " G"]:
        """Sum of both biases."""
        bias: Tensor = self.bias_ih + self.bias_hh
        return bias


def lstm(gates: Float[Tensor, "*S G"], c: Float[Tensor, "*S H"]) -> tuple[Tensor, Tensor]:
    """Return the next hidden and cell state of an LSTM from its gates, in PyTorch's order i, f, g, o."""
    i, f, g, o = gates.chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c
