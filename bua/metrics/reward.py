"""CIDEr-D and BLEU of word indices, batched on the device of the model: rewards for self-critical training.

There are no strings and no loops over captions: n-grams are encoded as integers, and those of a caption
are looked up among the sorted unique n-grams of its image's references. With a vocabulary of V words,
the n-gram w1 w2 .. is encoded as (w1 V + w2) V + .. plus (n - 1) V^4. The codes are unique as long as
4 V^4 < 2^63.

CIDEr-D follows Vedantam et al. 2015, section 5, as released in coco-caption: natural logarithms, n from 1
to 4, sigma 6, lengths counted in bigrams, scaled by 10. BLEU is the sentence-level score of coco-caption
with the closest reference length. This is the only module of the package that imports torch.

Shapes: B images, N captions per image, R references per image, T words, M captions, L n-grams per caption,
U unique n-grams of the references of an image. The leading dimension 4 is the order of the n-grams.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

ORDERS = (1, 2, 3, 4)
SIGMA = 6.0
#: Largest vocabulary whose n-grams have unique codes.
MAX_VOCABULARY_SIZE = 38_967
#: Padding after the last n-gram of a caption, larger than any code.
_NO_NGRAM = torch.iinfo(torch.int64).max
#: Number of images whose n-grams are counted at once, to bound memory.
_CHUNK = 10_000
#: Constants that BLEU adds to matches and to counts, as in coco-caption.
_TINY, _SMALL = 1e-15, 1e-9


class NgramCounts(NamedTuple):
    """The unique n-grams of captions and their counts.

    Attributes:
        keys: Sorted codes, padded by ``_NO_NGRAM``.
        counts: Number of occurrences, padded by 0.
    """

    keys: Int[Tensor, "*S L"]
    counts: Float[Tensor, "*S L"]


class DocumentFrequencies(NamedTuple):
    """Number of images whose references contain each n-gram.

    Attributes:
        keys: Sorted n-grams of all orders, shape (G,).
        counts: Number of images of each, shape (G,).
        common: Sorted n-grams of more than one image, shape (C,); all others have the weight of an unseen
            n-gram.
        weights: Inverse document frequency of these, log(num_images / counts), shape (C,).
        num_images: Number of images.
        vocabulary_size: Number of words V.
        signature: SHA-256 of the counts, the number of images and the vocabulary size.
    """

    keys: Int[Tensor, " G"]
    counts: Int[Tensor, " G"]
    common: Int[Tensor, " C"]
    weights: Float[Tensor, " C"]
    num_images: int
    vocabulary_size: int
    signature: str

    @classmethod
    def from_counts(
        cls, keys: Int[Tensor, " G"], counts: Int[Tensor, " G"], num_images: int, vocabulary_size: int
    ) -> "DocumentFrequencies":
        """Compute the weights and the signature; see the class for the arguments."""
        digest = hashlib.sha256(f"{vocabulary_size} {num_images}".encode())
        for tensor in (keys, counts):
            digest.update(tensor.numpy().tobytes())
        common = counts > 1
        common[:1] = True  # never empty, so that idf() can look it up
        weights = math.log(num_images) - counts[common].double().log()
        return cls(keys, counts, keys[common], weights, num_images, vocabulary_size, digest.hexdigest())

    def to(self, device: torch.device | str) -> "DocumentFrequencies":
        """Return a copy on a device."""
        keys, counts, common, weights = (part.to(device) for part in self[:4])
        return self._replace(keys=keys, counts=counts, common=common, weights=weights)

    def idf(self, keys: Int[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        """Return the inverse document frequency of n-grams; unseen ones count as seen in one image."""
        position = torch.searchsorted(self.common, keys).clamp(max=len(self.common) - 1)
        is_common = self.common.take(position) == keys
        return torch.where(is_common, self.weights.take(position), math.log(self.num_images))


def document_frequencies(
    references: Sequence[Sequence[Sequence[int]]], vocabulary_size: int
) -> DocumentFrequencies:
    """Count in how many images each n-gram occurs.

    Args:
        references: Captions of each image as word indices below ``vocabulary_size``.
        vocabulary_size: Number of words.

    Raises:
        ValueError: If there are no captions, a word index is not below ``vocabulary_size``, or this is
            larger than ``MAX_VOCABULARY_SIZE``.
    """
    if vocabulary_size > MAX_VOCABULARY_SIZE:
        raise ValueError(
            f"vocabulary must have at most {MAX_VOCABULARY_SIZE:,} words, got {vocabulary_size:,}"
        )
    if not any(caption for image in references for caption in image):
        raise ValueError("document frequencies require captions, got no captions")
    parts = [
        _count_images(references[start : start + _CHUNK], vocabulary_size)
        for start in range(0, len(references), _CHUNK)
    ]
    keys, position = torch.unique(torch.cat([part[0] for part in parts]), return_inverse=True)
    counts = torch.zeros_like(keys).scatter_add_(0, position, torch.cat([part[1] for part in parts]))
    return DocumentFrequencies.from_counts(keys, counts, len(references), vocabulary_size)


def _count_images(
    references: Sequence[Sequence[Sequence[int]]], vocabulary_size: int
) -> tuple[Tensor, Tensor]:
    """Return the unique n-grams of some images, and the number of images that contain each."""
    captions = [caption for image in references for caption in image]
    image_of_caption = torch.tensor([n for n, image in enumerate(references) for _ in image])
    words, lengths = pad_captions(captions)
    if words.numel() and (int(words.min()) < 0 or int(words.max()) >= vocabulary_size):
        raise ValueError(f"word index {int(words.max())} is outside of a vocabulary of {vocabulary_size}")
    keys = ngrams(words, lengths, vocabulary_size)
    mask = keys != _NO_NGRAM
    flat, image = keys[mask], image_of_caption[None, :, None].expand_as(keys)[mask]
    by_image = image.sort(stable=True).indices
    flat, image = flat[by_image], image[by_image]
    by_ngram = flat.sort(stable=True).indices  # stable: ordered by image within each n-gram
    flat, image = flat[by_ngram], image[by_ngram]
    first = torch.ones_like(flat, dtype=torch.bool)
    first[1:] = (flat[1:] != flat[:-1]) | (image[1:] != image[:-1])
    unique, counts = torch.unique_consecutive(flat[first], return_counts=True)
    return unique, counts


class References(NamedTuple):
    """N-gram statistics of the references of a batch, to score any number of captions against.

    Attributes:
        keys: Sorted unique n-grams of each image, padded by ``_NO_NGRAM``.
        counts: Number of occurrences of each n-gram in each reference.
        idf: Inverse document frequency of each n-gram.
        norms: Norm of the tf-idf vector of each reference.
        lengths: Number of words of each reference, negative where an image has fewer than R.
        frequencies: Document frequencies that ``idf`` comes from.
    """

    keys: Int[Tensor, "4 B U"]
    counts: Float[Tensor, "4 B R U"]
    idf: Float[Tensor, "4 B U"]
    norms: Float[Tensor, "4 B R"]
    lengths: Int[Tensor, "B R"]
    frequencies: DocumentFrequencies


def prepare_references(
    words: Int[Tensor, "B R T"], lengths: Int[Tensor, "B R"], frequencies: DocumentFrequencies
) -> References:
    """Count the n-grams of references.

    Args:
        words: References; words beyond the length are ignored.
        lengths: Number of words of each reference, including the end token if it is to be scored;
            negative where an image has fewer than R references.
        frequencies: Document frequencies with the same vocabulary, and computed with the end token if it
            is included here.
    """
    b, r = lengths.shape
    grams = ngrams(words.flatten(0, 1), lengths.flatten(), frequencies.vocabulary_size)
    grams = grams.reshape(len(ORDERS), b, -1)
    keys, position = unique_ngrams(grams)
    keys = keys[..., : int((keys != _NO_NGRAM).sum(-1).max().clamp(min=1))].contiguous()
    position = position.clamp(max=keys.shape[-1] - 1)  # padding counts as 0 below
    mask = (grams != _NO_NGRAM).double()
    counts = mask.new_zeros(len(ORDERS), b, r, keys.shape[-1])
    shape = (len(ORDERS), b, r, -1)
    counts.scatter_add_(3, position.view(shape), mask.view(shape))
    idf = frequencies.idf(keys)
    norms = (counts * idf.unsqueeze(2)).square().sum(-1).sqrt()
    return References(keys, counts, idf, norms, lengths, frequencies)


def cider_d(
    words: Int[Tensor, "B N T"], lengths: Int[Tensor, "B N"], references: References
) -> Float[Tensor, "B N"]:
    """Return the CIDEr-D of every caption, scaled by 10 as usual.

    Args:
        words: Captions; words beyond the length are ignored.
        lengths: Number of words of each caption, including the end token if it is to be scored.
        references: References of the same images.
    """
    candidate, position, found = _match_references(words, lengths, references)
    h = (candidate.counts * references.frequencies.idf(candidate.keys)).unsqueeze(2)
    r = _gather(references.counts * references.idf.unsqueeze(2), position) * found.unsqueeze(2)
    dot = (torch.minimum(h, r) * r).sum(-1)  # (4, B, R, N)
    norms = references.norms.unsqueeze(3) * h.square().sum(-1).sqrt()
    similarity = torch.where(norms > 0, dot / norms.clamp(min=1e-300), 0).mean(0)
    reference_lengths = references.lengths.unsqueeze(2)
    difference = (lengths - 1).clamp(min=0).unsqueeze(1) - (reference_lengths - 1).clamp(min=0)
    similarity = similarity * torch.exp(-(difference.double() ** 2) / (2 * SIGMA**2))
    mask = reference_lengths >= 0
    return 10 * (similarity * mask).sum(1) / mask.sum(1).clamp(min=1)


def bleu(
    words: Int[Tensor, "B N T"], lengths: Int[Tensor, "B N"], references: References
) -> Float[Tensor, "B N"]:
    """Return the sentence-level BLEU-4 of every caption.

    Args:
        words: Captions; words beyond the length are ignored.
        lengths: Number of words of each caption, including the end token if it is to be scored.
        references: References of the same images.
    """
    candidate, position, found = _match_references(words, lengths, references)
    max_counts = _gather(references.counts.amax(2, keepdim=True), position).squeeze(2) * found
    matches = torch.minimum(candidate.counts, max_counts).sum(-1)
    orders = torch.tensor(ORDERS, device=words.device).view(-1, 1, 1)
    totals = (lengths - orders + 1).clamp(min=0).double()
    score = ((matches + _TINY) / (totals + _SMALL)).prod(0) ** (1 / len(ORDERS))
    closest = _closest_lengths(lengths, references.lengths).double()
    ratio = (lengths + _TINY) / (closest + _SMALL)
    return score * torch.where(ratio < 1, torch.exp(1 - 1 / ratio), 1.0)


def pad_captions(captions: Sequence[Sequence[int]]) -> tuple[Int[Tensor, "M T"], Int[Tensor, " M"]]:
    """Return captions as one tensor, padded by zeros, and their lengths."""
    lengths = torch.tensor([len(caption) for caption in captions], dtype=torch.long)
    words = torch.zeros(len(captions), int(lengths.max()) if len(captions) else 0, dtype=torch.long)
    mask = torch.arange(words.shape[1]) < lengths[:, None]
    words[mask] = torch.tensor([word for caption in captions for word in caption], dtype=torch.long)
    return words, lengths


def ngrams(
    words: Int[Tensor, "M T"], lengths: Int[Tensor, " M"], vocabulary_size: int
) -> Int[Tensor, "4 M L"]:
    """Return the codes of the n-grams of captions, in order of occurrence, padded by ``_NO_NGRAM``."""
    count, length = words.shape
    keys = words.new_full((len(ORDERS), count, max(length, 1)), _NO_NGRAM)
    start = torch.arange(length, device=words.device)
    gram = torch.zeros_like(words)
    for order in ORDERS[:length]:
        gram = gram[:, : length - order + 1] * vocabulary_size + words[:, order - 1 :]
        padding = start[: gram.shape[1]] + order > lengths.unsqueeze(1)
        codes = gram + (order - 1) * vocabulary_size**4
        keys[order - 1, :, : gram.shape[1]] = codes.masked_fill(padding, _NO_NGRAM)
    return keys


def count_ngrams(keys: Int[Tensor, "*S L"]) -> NgramCounts:
    """Return the unique n-grams of each caption and their counts."""
    unique, position = unique_ngrams(keys)
    counts = torch.zeros(keys.shape, dtype=torch.float64, device=keys.device)
    return NgramCounts(unique, counts.scatter_add_(-1, position, (keys != _NO_NGRAM).double()))


def unique_ngrams(keys: Int[Tensor, "*S L"]) -> tuple[Int[Tensor, "*S L"], Int[Tensor, "*S L"]]:
    """Return the unique keys of each row, sorted and padded by ``_NO_NGRAM``, and the index of each key."""
    ordered, index = keys.sort(-1)
    first = torch.ones_like(keys)
    first[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    group = first.cumsum(-1) - 1
    unique = torch.full_like(keys, _NO_NGRAM).scatter_(-1, group, ordered)
    return unique, torch.empty_like(group).scatter_(-1, index, group)


def _match_references(
    words: Int[Tensor, "B N T"], lengths: Int[Tensor, "B N"], references: References
) -> tuple[NgramCounts, Int[Tensor, "4 B N L"], Bool[Tensor, "4 B N L"]]:
    """Return the n-grams of captions, their positions among the references', and a mask of matches."""
    b, n = lengths.shape
    grams = ngrams(words.flatten(0, 1), lengths.flatten(), references.frequencies.vocabulary_size)
    candidate = NgramCounts(*(part.view(len(ORDERS), b, n, -1) for part in count_ngrams(grams)))
    keys = candidate.keys.flatten(2)
    position = torch.searchsorted(references.keys, keys).clamp(max=references.keys.shape[-1] - 1)
    found = (references.keys.gather(2, position) == keys) & (keys != _NO_NGRAM)
    return candidate, position.view_as(candidate.keys), found.view_as(candidate.keys)


def _gather(values: Float[Tensor, "4 B R U"], position: Int[Tensor, "4 B N L"]) -> Float[Tensor, "4 B R N L"]:
    """Return the values of each reference at the positions of the captions' n-grams."""
    four, b, r, _ = values.shape
    index = position.flatten(2).unsqueeze(2).expand(-1, -1, r, -1)
    return values.gather(3, index).view(four, b, r, *position.shape[2:])


def _closest_lengths(lengths: Int[Tensor, "B N"], references: Int[Tensor, "B R"]) -> Int[Tensor, "B N"]:
    """Return the reference length closest to that of each caption, of ties the shorter."""
    reference = references.unsqueeze(2)
    distance = (reference - lengths.unsqueeze(1)).abs() * 2 + (reference > lengths.unsqueeze(1))
    distance = distance.masked_fill(reference < 0, torch.iinfo(torch.int64).max)
    nearest = distance.argmin(1, keepdim=True)
    return reference.expand(-1, -1, lengths.shape[1]).gather(1, nearest).squeeze(1)
