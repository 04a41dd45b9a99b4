"""What recurrent captioners share: the loop over words, and what is computed outside of it.

Shapes: B images, N sequences an image, T words, K regions (padded), D region features, A attention,
H state, G gates, O what a word is said from, V vocabulary.
"""

from abc import abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bua.models.captioners.base import Captioner, Memory, State, Step
from bua.structures.region_batch import RegionBatch


class AttendedRegions(NamedTuple):
    """Regions of a batch, encoded once and attended at every step."""

    features: Float[Tensor, "B K D"]
    keys: Float[Tensor, "B K A"]
    mask: Bool[Tensor, "B K"]


class RecurrentCaptioner(Captioner[Memory, State]):
    """A captioner whose step is that of a recurrent network.

    In teacher forcing only the recurrence itself is a loop: what words add to the gates comes
    before it and the logits after it, each for a whole caption at once. It is the step that is compiled:
    a whole caption would be, again, for every length.
    """

    def stepping(self, memory: Memory) -> Step[State]:
        """Return the step over these regions, having computed what is the same at every step."""
        advance = self._cell(memory, 0)

        def step(words: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
            weights, out, state = advance(self._word_gates(words), state)
            return self._logits(out, words), weights, state

        compiled: Step[State] = self._compiled(step)
        return compiled

    def forward(
        self,
        regions: RegionBatch,
        words: Int[Tensor, "B N T"],
        where: Bool[Tensor, "B N T"] | None = None,
    ) -> Float[Tensor, "*S V"]:
        """Return the logits of the word after each of ``words``, (B, N, T, V), or those ``where`` wanted."""
        memory = self.encode(regions)
        state, said = self.start(memory, words.shape[1]), []
        advance = self._compiled(self._cell(memory, words.shape[1] * words.shape[2]))
        for gates in self._word_gates(words).unbind(2):
            _, out, state = advance(gates, state)
            said.append(out)
        every = torch.stack(said, 2)
        return self._logits(every, words) if where is None else self._logits(every[where], words[where])

    @abstractmethod
    def _word_gates(self, words: Int[Tensor, "*S"]) -> Float[Tensor, "*S G"]:
        """Return what words alone add to the gates."""

    @abstractmethod
    def _cell(self, memory: Memory, reads: int) -> Step[State]:
        """Return one step over these regions, having computed what is the same at every step.

        Args:
            memory: of the regions.
            reads: so many words will be read of every image, where that is known, else 0.

        The step takes gates of a word (B, N, G) and a state, and returns weights of the regions
        (B, N, K), what the next word is said from (B, N, O) and the next state.
        """

    @abstractmethod
    def _logits(self, out: Float[Tensor, "*S O"], words: Int[Tensor, "*S"]) -> Float[Tensor, "*S V"]:
        """Return the logits of the word after each of ``words``."""
