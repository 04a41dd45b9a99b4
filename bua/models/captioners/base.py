"""The interface that training and decoding expect of a captioner.

Shapes: B images, N sequences per image, T words, K regions (padded), V vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

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
