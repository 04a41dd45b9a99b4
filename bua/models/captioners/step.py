"""What decoding and training need of a captioner, and the LSTM that most of them step with.

Shapes: B images, N sequences an image, T words, K regions (padded), H state, G four gates of H, V
vocabulary.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

from jaxtyping import Float
from torch import Tensor

from bua.models.regions import RegionBatch

State = TypeVar("State", bound=tuple[object, ...])
Memory = TypeVar("Memory", bound=tuple[object, ...])


class Captioner(Protocol[Memory, State]):
    """A network that says captions of regions, word by word.

    ``encode`` is called once an image; ``start`` gives the state before the first word; ``step``
    reads one word of each of N sequences an image. A state is a named tuple of tensors (B, N, ...),
    or of tuples of them, so that a search can go on with any choice of sequences; a tensor may be
    longer after every step. Every tensor of a memory is (B, ...).
    """

    def encode(self, regions: RegionBatch) -> Memory:
        """Return what every step needs of the regions."""

    def start(self, memory: Memory, sequences: int) -> State:
        """Return the state before the first word."""

    def step(self, words: Tensor, memory: Memory, state: State) -> tuple[Tensor, Tensor, State]:
        """Return logits (B, N, V), weights of the regions (B, N, K) and the next state."""

    def stepping(self, memory: Memory) -> Callable[[Tensor, State], tuple[Tensor, Tensor, State]]:
        """Return ``step`` over these regions, having computed what is the same at every step."""

    def forward(self, regions: RegionBatch, words: Tensor, where: Tensor | None = None) -> Tensor:
        """Return logits (B, N, T, V) of the word after each of ``words`` (B, N, T).

        With ``where``, a mask (B, N, T), only those of the M wanted, (M, V).
        """


class LstmState(NamedTuple):
    """Hidden and cell state of one LSTM."""

    h: Float[Tensor, "B N H"]
    c: Float[Tensor, "B N H"]


def lstm(gates: Float[Tensor, "*S G"], cell: Float[Tensor, "*S H"]) -> tuple[Tensor, Tensor]:
    """Return hidden and cell state from the sums of the four gates, in PyTorch's order i f g o."""
    i, f, g, o = gates.chunk(4, -1)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell
