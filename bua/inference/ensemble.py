"""Several VQA models that answer together: the mean of their scores.

Shapes: B questions, C answers, K regions.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bua.data.batch import RegionInput
from bua.errors import InputError
from bua.inference.outputs import VQAPrediction
from bua.inference.predictor import Predictor
from bua.store.reader import FeatureStore, ImageId
from bua.structures.region_batch import RegionBatch


class Member(NamedTuple):
    """One model of several.

    Attributes:
        trained: the model.
        store: the regions that it looks at.
        images: under which id the store has an image, where that is not the image's own.
        share: of its scores in the mean.
    """

    trained: Predictor
    store: FeatureStore
    images: Mapping[ImageId, ImageId]
    share: float

    def stored(self, image_ids: Iterable[ImageId]) -> list[ImageId]:
        """Return the ids that images have in the store."""
        return [self.images.get(image_id, image_id) for image_id in image_ids]


class VQAEnsemble:
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
    ) -> list[VQAPrediction]:
        """Answer questions about images, as one batch.

        Where all look at the same regions, where they looked is the mean, otherwise it is that of the first.
        """
        total, every = sum(member.share for member in self.members), []
        scores: Tensor | float = 0.0
        read: dict[tuple[str, RegionInput], RegionBatch] = {}  # by all that look at the same
        for member, order in zip(self.members, self._orders, strict=True):
            key = str(member.store.path), member.trained.region_input
            if key not in read:
                read[key] = member.trained.region_input.load(member.store, member.stored(image_ids))
            found, weights = member.trained.scores(read[key], questions)
            scores = scores + found.cpu()[:, order] * (member.share / total)
            every.append(weights)
        assert isinstance(scores, Tensor)
        shares = [member.share for member in self.members]
        if all(member.store is self.members[0].store for member in self.members):
            looked = [np.average(looks, axis=0, weights=shares) for looks in zip(*every, strict=True)]
        else:
            looked = every[0]
        return self.members[0].trained.answered(scores, looked, candidates)


def _order(first: Predictor, other: Predictor) -> Tensor:
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
