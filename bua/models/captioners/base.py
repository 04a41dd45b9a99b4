"""What decoding and training need of a captioner, and the LSTM that most of them step with.

Shapes: B images, N sequences an image, T words, K regions (padded), H state, G four gates of H, V
vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bua.structures.region_batch import RegionBatch

State = TypeVar("State", bound=tuple[object, ...])
Memory = TypeVar("Memory", bound=tuple[object, ...])
Step = Callable[[Tensor, State], tuple[Tensor, Tensor, State]]


class Captioner(nn.Module, ABC, Generic[Memory, State]):
    """A network that says captions of regions, word by word.

    ``encode`` is called once an image; ``start`` gives the state before the first word; ``stepping``
    gives what reads one word of each of N sequences an image. A state is a named tuple of tensors
    (B, N, ...), or of tuples of them, so that a search can go on with any choice of sequences; a tensor
    may be longer after every step. Every tensor of a memory is (B, ...).
    """

    @abstractmethod
    def encode(self, regions: RegionBatch) -> Memory:
        """Return what every step needs of the regions."""

    @abstractmethod
    def start(self, memory: Memory, sequences: int) -> State:
        """Return the state before the first word."""

    @abstractmethod
    def stepping(self, memory: Memory) -> Step[State]:
        """Return the step over these regions, having computed what is the same at every step.

        It takes words (B, N) and a state, and returns logits (B, N, V) of the next word, weights of the
        regions (B, N, K) and the next state.
        """

    def step(
        self, words: Int[Tensor, "B N"], memory: Memory, state: State
    ) -> tuple[Float[Tensor, "B N V"], Float[Tensor, "B N K"], State]:
        """Read one word of every sequence: ``stepping`` for a single step."""
        return self.stepping(memory)(words, state)

    @abstractmethod
    def forward(
        self,
        regions: RegionBatch,
        words: Int[Tensor, "B N T"],
        where: Bool[Tensor, "B N T"] | None = None,
    ) -> Float[Tensor, "*S V"]:
        """Return the logits of the word after each of ``words``, (B, N, T, V), or those ``where`` wanted."""

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the step, by ``torch.compile`` and its arguments; parameters keep their names."""
        self._compiled = partial(torch.compile, *args, **kwargs)

    #: What is done to a step before it is used.
    _compiled: Callable[[Any], Any] = staticmethod(lambda step: step)


class LstmState(NamedTuple):
    """Hidden and cell state of one LSTM."""

    h: Float[Tensor, "B N H"]
    c: Float[Tensor, "B N H"]


class LstmWeights(nn.Module):
    """The weights of an LSTM whose inputs are known at different times: a matrix for each, by its name.

    Side by side they are the ``weight_ih`` of ``nn.LSTMCell``, which they begin as. A slice of one matrix
    would have a gradient of the whole, wherever it is used.

    Args:
        hidden_size: H.
        inputs: the size of each input.
    """

    def __init__(self, hidden_size: int, **inputs: int) -> None:
        super().__init__()
        cell = nn.LSTMCell(sum(inputs.values()), hidden_size)
        parts = torch.split(cell.weight_ih.detach(), list(inputs.values()), 1)
        self.of = nn.ParameterDict(
            {name: nn.Parameter(part.clone()) for name, part in zip(inputs, parts, strict=True)}
        )
        self.of_state = cell.weight_hh
        self.bias_ih, self.bias_hh = cell.bias_ih, cell.bias_hh

    @property
    def bias(self) -> Float[Tensor, " G"]:
        """The sum of both biases."""
        both: Tensor = self.bias_ih + self.bias_hh
        return both


def lstm(gates: Float[Tensor, "*S G"], cell: Float[Tensor, "*S H"]) -> tuple[Tensor, Tensor]:
    """Return hidden and cell state from the sums of the four gates, in PyTorch's order i f g o."""
    i, f, g, o = gates.chunk(4, -1)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell
