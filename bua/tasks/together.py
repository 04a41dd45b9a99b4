"""Several VQA models that answer together: the mean of their scores.

Shapes: B questions, C answers, K regions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bua.errors import InputError
from bua.store.reader import FeatureStore, ImageId
from bua.tasks.said import Answered
from bua.tasks.trained import Trained


class Member(NamedTuple):
    """One model, the regions that it looks at, and its share of the mean."""

    trained: Trained
    store: FeatureStore
    share: float


class Together:
    """VQA models with the same answers, in any order, and each with its own words and features.

    Args:
        members: the first says how answers are written.

    Raises:
        InputError: one is no VQA model, or its answers are not those of the first.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self._orders = [_order(members[0].trained, member.trained) for member in members]

    def answer(
        self, image_ids: Sequence[ImageId], questions: Sequence[str], *, candidates: int = 1
    ) -> list[Answered]:
        """Answer questions about images, as one batch.

        Where all look at the same number of regions of every image, what is said of where they looked is
        the mean, otherwise it is that of the first.
        """
        total, every = sum(member.share for member in self.members), []
        scores: Tensor | float = 0.0
        for (trained, store, share), order in zip(self.members, self._orders, strict=True):
            found, weights = trained.scores(trained.region_input.load(store, image_ids), questions)
            scores = scores + found.cpu()[:, order] * (share / total)
            every.append([looked * (share / total) for looked in weights])
        assert isinstance(scores, Tensor)
        alike = all(member.store is self.members[0].store for member in self.members)
        first = [looked * (total / self.members[0].share) for looked in every[0]]
        mean = [np.sum(looks, axis=0) for looks in zip(*every, strict=True)] if alike else first
        return self.members[0].trained.answered(scores, mean, candidates)


def _order(first: Trained, other: Trained) -> Tensor:
    """Return where ``other`` has each answer of ``first``."""
    if first.answers is None or other.answers is None:
        raise InputError(
            f"{(first if first.answers is None else other).source}: this model answers no questions"
        )
    place = {answer: n for n, answer in enumerate(other.answers.answers)}
    lost = [answer for answer in first.answers.answers if answer not in place]
    if lost or len(place) != len(first.answers):
        extra = sorted(place.keys() - set(first.answers.answers))
        which = f"it lacks {lost[0]!r}" if lost else f"it has {extra[0]!r} besides"
        raise InputError(
            f"{other.source}: its {len(place):,} answers are not the {len(first.answers):,} of "
            f"{first.source}: {which}; models answer together over the same answers"
        )
    return torch.tensor([place[answer] for answer in first.answers.answers])
