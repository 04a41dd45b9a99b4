"""Batches: padded tensors with explicit masks.

Shapes: B examples, K regions (padded), D region features, N captions an image, T words, C answers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from bua.data.vqa.files.entry import QuestionId
from bua.data.vqa.sparse_rows import Numbers
from bua.errors import InputError, check_integer, check_number
from bua.store.reader import FeatureStore, ImageId, PaddedRegions
from bua.structures.region_batch import RegionBatch
from bua.text.vocabulary import BOS, EOS, PADDING

#: Where the padding of questions may be.
PADDINGS = ("front", "end")
#: Numbers of ``geometry`` a region.
GEOMETRY = 5


class CaptionBatch(NamedTuple):
    """Images with their captions.

    ``words`` begin with BOS and end with EOS, an image with fewer captions than another has rows
    of padding; ``references`` are the captions as they were written, ``reference_words`` the same
    uncut as R rows of words with EOS behind each, ``reference_lengths`` their words without it, below 0
    where an image has fewer than R.
    """

    image_id: list[ImageId]
    regions: RegionBatch
    words: Int[Tensor, "B N T"]
    references: list[list[str]]
    reference_words: Int[Tensor, "B R S"]
    reference_lengths: Int[Tensor, "B R"]


class AnswerTargets(NamedTuple):
    """How right every answer to the questions of a batch is; one that is not listed is wrong.

    Arrays and not tensors: a model has no use for them, so they stay where they are.

    Attributes:
        accuracies: of the answers that are right in part at least.
        types: (B,), numbers of the types of the answers.
        counted: (B,), False for a question that only fills up the batches of this process.
    """

    accuracies: Numbers
    types: NDArray[np.int32]
    counted: NDArray[np.bool_]

    def of(self, answers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the accuracy, 0 to 1, of one answer to each question."""
        row, column, value = self.accuracies
        given = answers[row] == column
        worth: NDArray[np.float64] = np.bincount(row[given], value[given], len(answers)).astype(np.float64)
        return worth


class VQABatch(NamedTuple):
    """Questions with their regions and what is right.

    ``words`` are padded in front or at the end; ``targets`` are soft scores; ``marks`` are only there
    where a model is validated.
    """

    question_id: list[QuestionId]
    regions: RegionBatch
    words: Int[Tensor, "B T"]
    targets: Float[Tensor, "B C"]
    marks: AnswerTargets | None


def check_reading(batch_size: int, workers: int, geometry: float | None) -> None:
    """Raise ``ValueError`` unless batches can be read so: the options that captions and questions share."""
    check_integer("batch_size", batch_size, 1)
    check_integer("workers", workers)
    if geometry is not None:
        check_number("geometry", geometry, without=0)


class RegionInput(NamedTuple):
    """How the regions of a store become the input of a model; a checkpoint remembers it.

    Attributes:
        geometry: put box corners and area, times this number, behind every feature; none of it
            where there is no number. Features of a detector are often some ten times as large as
            shares of an image, and a model then overlooks what is not scaled.
    """

    geometry: float | None

    def size(self, feature_size: int) -> int:
        """Return how many numbers a region of the store becomes."""
        return feature_size + (GEOMETRY if self.geometry is not None else 0)

    def tensors(self, padded: PaddedRegions) -> RegionBatch:
        """Return features in single precision, mask, and boxes as shares of the image."""
        features = torch.from_numpy(padded.features).float()
        shares = geometry(torch.from_numpy(padded.boxes), torch.from_numpy(padded.size))
        if self.geometry is not None:
            features = torch.cat([features, self.geometry * shares], -1)
        return RegionBatch(features, torch.from_numpy(padded.mask), shares[..., :4])

    def load(self, store: FeatureStore, image_ids: Sequence[ImageId]) -> RegionBatch:
        """Return the regions of a batch of images of a store.

        Raises:
            InputError: numbers of an image are not finite.
        """
        once = {image_id: n for n, image_id in enumerate(dict.fromkeys(image_ids))}
        few = 2 * len(once) <= len(image_ids)  # as of the questions of a file, of which several are about one
        regions = self.tensors(store.padded(list(once) if few else image_ids))
        if few:
            places = torch.tensor([once[image_id] for image_id in image_ids])
            regions = RegionBatch(*(part[places] for part in regions))
        if not (regions.features.sum() + regions.boxes.sum()).isfinite():  # one pass; the images only if so
            for image_id, features, boxes in zip(image_ids, regions.features, regions.boxes, strict=True):
                if not (features.isfinite().all() and boxes.isfinite().all()):
                    raise InputError(
                        f"{store.path}: features or boxes of image {image_id!r} are not all finite; "
                        "bua features check tells more"
                    )
        return regions


def geometry(boxes: Float[Tensor, "B K 4"], size: Int[Tensor, "B 2"]) -> Float[Tensor, "B K 5"]:
    """Return corners and area of boxes as shares of the image (x1, y1, x2, y2, area).

    Args:
        boxes: x1 y1 x2 y2 in pixels.
        size: height and width.
    """
    scale = size.flip(1).repeat(1, 2).unsqueeze(1).to(boxes)
    shares = boxes / scale
    area = (shares[..., 2] - shares[..., 0]) * (shares[..., 3] - shares[..., 1])
    return torch.cat([shares, area.unsqueeze(-1)], -1)


def pad_captions(captions: Sequence[Sequence[Sequence[int]]], max_length: int) -> Int[Tensor, "B N T"]:
    """Frame the captions of each image by BOS and EOS and pad them.

    A caption longer than ``max_length`` is cut and keeps its EOS.
    """
    cut = [[list(words[:max_length]) for words in image] for image in captions]
    longest = max((len(words) for image in cut for words in image), default=0)
    most = max((len(image) for image in cut), default=0)
    out = torch.full((len(cut), most, longest + 2), PADDING)
    for b, image in enumerate(cut):
        for n, words in enumerate(image):
            out[b, n, : len(words) + 2] = torch.tensor([BOS, *words, EOS])
    return out


def pad_references(
    captions: Sequence[Sequence[Sequence[int]]],
) -> tuple[Int[Tensor, "B R S"], Int[Tensor, "B R"]]:
    """Return the captions of each image with EOS behind each, padded, and their lengths without it."""
    most = max((len(image) for image in captions), default=0)
    longest = max((len(words) for image in captions for words in image), default=0)
    out = torch.full((len(captions), most, longest + 1), PADDING)
    lengths = torch.full((len(captions), most), -1)
    for b, image in enumerate(captions):
        for n, words in enumerate(image):
            out[b, n, : len(words) + 1] = torch.tensor([*words, EOS])
            lengths[b, n] = len(words)
    return out, lengths


def pad_questions(questions: Sequence[Sequence[int]], length: int, padding: str) -> Int[Tensor, "B T"]:
    """Cut questions to ``length`` words and pad them.

    Args:
        questions: as word indices.
        length: words a question.
        padding: where it is put, "front" or "end".
    """
    rows = []
    for words in questions:
        kept = list(words[:length])
        gap = [PADDING] * (length - len(kept))
        rows.append(gap + kept if padding == "front" else kept + gap)
    return torch.tensor(rows, dtype=torch.long).view(len(questions), length)
