"""Captions and regions as batches.

Shapes: B images, N captions per image, T words, R reference captions per image, S words of a reference.
"""

import logging
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import Dataset

from bua.data.captions.files import CaptionFile
from bua.data.datamodule import EpochSampler
from bua.data.image_lookup import RegionInput, find_images, match_images
from bua.errors import InputError
from bua.store.reader import FeatureStore
from bua.structures.annotations import ImageId
from bua.structures.region_batch import RegionBatch
from bua.text.vocabulary import BOS, EOS, PADDING, UNKNOWN, Vocabulary

log = logging.getLogger(__name__)

#: A caption as word indices.
EncodedCaption = list[int]


class CaptionBatch(NamedTuple):
    """Images with their captions.

    Attributes:
        image_id: Ids of the images.
        regions: Regions of the images.
        words: Training captions as word indices; each begins with BOS and ends with EOS (see
            ``pad_captions``), and an image with fewer captions than another has rows of padding.
        references: Captions as they were written.
        reference_words: All captions, not truncated, each followed by EOS.
        reference_lengths: Their numbers of words without EOS; negative if an image has fewer than R.
    """

    image_id: list[ImageId]
    regions: RegionBatch
    words: Int[Tensor, "B N T"]
    references: list[list[str]]
    reference_words: Int[Tensor, "B R S"]
    reference_lengths: Int[Tensor, "B R"]


class CaptionDataset(Dataset[CaptionBatch]):
    """A data set with one example per image; a whole batch is read at once.

    Captions without a word, such as "...", and images without captions are left out and counted.

    Args:
        store: Feature store with the regions of the images.
        file: Captions of the images.
        vocabulary: Vocabulary that turns words into indices.
        max_length: Maximum number of words; longer captions are truncated.
        keep_end: Whether a truncated caption keeps its end token, see ``pad_captions``. Default: yes.
        region_input: Conversion of stored regions to the input of a model.
        image_key: Field of ``file`` that identifies an image in the store: "id" or "file_name".
        captions_per_image: Number of captions sampled per image, depending on seed, epoch and image; captions
            are repeated if an image has fewer. Default: all captions.
        seed: Seed of the sampling.

    Raises:
        InputError: If no image has captions, or one with captions has no regions.
    """

    def __init__(
        self,
        store: FeatureStore,
        file: CaptionFile,
        vocabulary: Vocabulary,
        *,
        max_length: int,
        region_input: RegionInput,
        keep_end: bool = True,
        image_key: str = "id",
        captions_per_image: int | None = None,
        seed: int = 0,
    ) -> None:
        self.captions_per_image, self.seed = captions_per_image, seed
        self._sampler: EpochSampler | None = None
        self.store, self.vocabulary = store, vocabulary
        self.max_length, self.keep_end, self.region_input = max_length, keep_end, region_input
        captions, self._encoded = encode_captions(file.captions, vocabulary)
        self.file, self.image_ids = replace(file, captions=captions), list(captions)
        if not self.image_ids:
            raise InputError(f"{file.path}: holds no captions")
        _warn_of_omissions(file, captions)
        self._stored_ids = match_caption_images(file, self.image_ids, store, image_key)

    def __len__(self) -> int:
        return len(self.image_ids)

    def stored_id(self, image_id: ImageId) -> ImageId:
        """Return the id in the feature store of an image of the file."""
        return self._stored_ids[image_id]

    def unknown_rate(self) -> float:
        """Return the fraction of the words of all captions that the vocabulary lacks."""
        return self._encoded.fraction(UNKNOWN)

    def num_captions(self) -> int:
        """Return the number of captions of all images."""
        return sum(map(len, self.file.captions.values()))

    def set_sampler(self, sampler: EpochSampler) -> None:
        """Take the epoch, on which the drawn captions depend, from a sampler."""
        self._sampler = sampler

    def draw(self, index: int, captions: Sequence[EncodedCaption]) -> Sequence[EncodedCaption]:
        """Return the captions of an image that are read in the current epoch."""
        if self.captions_per_image is None:
            return captions
        epoch = self._sampler.epoch if self._sampler else 0
        rng = np.random.default_rng([self.seed, epoch, index])
        too_few = len(captions) < self.captions_per_image
        drawn = rng.choice(len(captions), self.captions_per_image, replace=too_few)
        return [captions[n] for n in drawn.tolist()]

    def __getitems__(self, indices: Sequence[int]) -> CaptionBatch:
        """Return a batch."""
        ids = [self.image_ids[n] for n in indices]
        references = [self.file.captions[image_id] for image_id in ids]
        encoded = [self._encoded[n] for n in indices]
        regions = self.region_input.read(self.store, [self._stored_ids[i] for i in ids])
        drawn = [self.draw(n, captions) for n, captions in zip(indices, encoded, strict=True)]
        words = pad_captions(drawn, self.max_length, keep_end=self.keep_end)
        return CaptionBatch(ids, regions, words, references, *pad_references(encoded))


@rank_zero_only
def _warn_of_omissions(file: CaptionFile, kept: Mapping[ImageId, Sequence[str]]) -> None:
    """Log how many captions of a file have no word, and how many images have no captions."""
    total, left = (sum(map(len, captions.values())) for captions in (file.captions, kept))
    if total > left:
        log.warning(f"{file.path}: {total - left:,} of {total:,} captions have no word and are left out")
    if missing := len(file.captions) - len(kept):
        log.warning(
            f"{file.path}: {missing:,} of {len(file.captions):,} images have no captions and are left out"
        )


class EncodedCaptions:
    """Captions of images as word indices, concatenated in one array to save memory (a tenth of lists)."""

    def __init__(self) -> None:
        self._words, self._ends, self._images = array("i"), array("q", [0]), array("q", [0])

    def append(self, captions: Iterable[EncodedCaption]) -> None:
        """Add the captions of an image."""
        for words in captions:
            self._words.extend(words)
            self._ends.append(len(self._words))
        self._images.append(len(self._ends) - 1)

    def fraction(self, word: int) -> float:
        """Return which fraction of all words is this one."""
        return float((np.frombuffer(self._words, np.int32) == word).mean()) if self._words else 0.0

    def __len__(self) -> int:
        return len(self._images) - 1

    def __getitem__(self, image: int) -> list[EncodedCaption]:
        first, last = self._images[image], self._images[image + 1]
        return [self._words[a:b].tolist() for a, b in pairwise(self._ends[first : last + 1])]


def encode_captions(
    captions: Mapping[ImageId, Sequence[str]], vocabulary: Vocabulary
) -> tuple[dict[ImageId, list[str]], EncodedCaptions]:
    """Return the captions that have a word, as texts by image and as word indices in the same order.

    Images without such a caption are left out.
    """
    kept, encoded = dict[ImageId, list[str]](), EncodedCaptions()
    for image_id, texts in captions.items():
        pairs = [(text, words) for text in texts if (words := vocabulary.encode(text))]
        if pairs:
            kept[image_id] = [text for text, _ in pairs]
            encoded.append(words for _, words in pairs)
    return kept, encoded


def pad_captions(
    captions: Sequence[Sequence[Sequence[int]]], max_length: int, *, keep_end: bool = True
) -> Int[Tensor, "B N T"]:
    """Put the captions of each image between BOS and EOS and pad them.

    Args:
        captions: Captions of each image as word indices.
        max_length: Maximum number of words of a caption that has its EOS.
        keep_end: Whether a longer caption is cut to ``max_length`` words and keeps its EOS. Otherwise it is
            cut after ``max_length + 1`` words and has none. Default: yes.
    """
    rows = [
        [
            [BOS, *words[:max_length], EOS] if keep_end else [BOS, *words, EOS][: max_length + 2]
            for words in image
        ]
        for image in captions
    ]
    longest = max((len(row) for image in rows for row in image), default=2)
    most = max((len(image) for image in rows), default=0)
    padded = torch.full((len(rows), most, longest), PADDING)
    for b, image in enumerate(rows):
        for n, row in enumerate(image):
            padded[b, n, : len(row)] = torch.tensor(row)
    return padded


def pad_references(
    captions: Sequence[Sequence[Sequence[int]]],
) -> tuple[Int[Tensor, "B R S"], Int[Tensor, "B R"]]:
    """Return the captions of each image, each followed by EOS and padded, and their lengths without EOS."""
    most = max((len(image) for image in captions), default=0)
    longest = max((len(words) for image in captions for words in image), default=0)
    padded = torch.full((len(captions), most, longest + 1), PADDING)
    lengths = torch.full((len(captions), most), -1)
    for b, image in enumerate(captions):
        for n, words in enumerate(image):
            padded[b, n, : len(words) + 1] = torch.tensor([*words, EOS])
            lengths[b, n] = len(words)
    return padded, lengths


#: Fields of a caption file that may identify an image in a store.
IMAGE_KEYS = ("id", "file_name")


def match_caption_images(
    file: CaptionFile, image_ids: Sequence[ImageId], store: FeatureStore, image_key: str
) -> dict[ImageId, ImageId]:
    """Return the ids in a store by ids in a caption file.

    Args:
        file: File of captions.
        image_ids: Images of the file.
        store: Feature store.
        image_key: What of the file names an image in the store: "id" or "file_name".

    Raises:
        InputError: If the store lacks images, one of its images would be two of the file, or
            ``image_key`` is neither of the two.
    """
    names = caption_image_names(file, image_ids, image_key)
    if names and not find_images(names, store)[0]:
        _suggest_other_key(file, image_ids, store, image_key)
    return match_images(names, store, str(file.path))


def caption_image_names(
    file: CaptionFile, image_ids: Sequence[ImageId], image_key: str
) -> dict[ImageId, ImageId]:
    """Return the name of each image of a caption file in a store: its id or its file name.

    Raises:
        InputError: If ``image_key`` is neither "id" nor "file_name".
    """
    if image_key not in IMAGE_KEYS:
        raise InputError(f"image_key={image_key}: must be {' or '.join(IMAGE_KEYS)}")
    return {i: i if image_key == "id" else file.file_names[i] for i in image_ids}


def _suggest_other_key(
    file: CaptionFile, image_ids: Sequence[ImageId], store: FeatureStore, image_key: str
) -> None:
    """Raise ``InputError`` if the other key would have matched images."""
    for other in IMAGE_KEYS:
        found, _ = find_images(caption_image_names(file, image_ids[:1000], other), store)
        if other != image_key and found:
            image_id, stored = next(iter(found.items()))
            raise InputError(
                f"{store.path}: does not name images by the {image_key} of {file.path}: its {stored!r} is "
                f"image {image_id!r} ({file.file_names[image_id]}) there; give image_key={other}"
            )
