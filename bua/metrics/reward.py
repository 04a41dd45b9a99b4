"""CIDEr-D and BLEU of word indices, batched on the device of the model: rewards for self-critical training.

No strings and no loop over captions: the n-grams of a caption are numbers, and are looked up among
those of its image's references, which are unique and sorted. An n-gram of words w1 w2 .. below V is the
number (w1 V + w2) V + .. plus n - 1 times V to the fourth; so two never share one as long as four times V
to the fourth is below 2 to the 63rd.

CIDEr-D is that of Vedantam et al. 2015, section 5, as released in coco-caption: natural logarithms,
n from 1 to 4, sigma 6, lengths counted in bigrams, times 10. BLEU is that of coco-caption for a single
sentence, with the closest reference length. The only module of this package that imports torch.

Shapes: B images, N captions an image, R references an image, T words, M captions, L n-grams of a caption,
U different n-grams of an image's references; the four orders of n-grams come first, as 4.
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
#: The largest vocabulary whose n-grams can be told apart.
MOST_WORDS = 38_967
#: Stands behind the last n-gram of a caption; no n-gram is as large.
_NONE = torch.iinfo(torch.int64).max
#: Images whose n-grams are counted at once: more need more memory.
_AT_ONCE = 10_000
#: What BLEU adds to matches and to counts, as coco-caption does.
_TINY, _SMALL = 1e-15, 1e-9


class Counts(NamedTuple):
    """The different n-grams of captions, sorted, and how often each comes."""

    keys: Int[Tensor, "*S L"]  # _NONE behind the last
    counts: Float[Tensor, "*S L"]  # 0 behind the last


class DocumentFrequencies(NamedTuple):
    """In the references of how many images each n-gram comes.

    Attributes:
        keys: (G,), sorted n-grams of all orders.
        counts: (G,), images of each.
        common: (C,), sorted n-grams of more than one image: all others weigh as one that is in none.
        weights: (C,), log(images / counts) of these.
        images: how many there are.
        size: words of the vocabulary, V.
        signature: sha256 of all of this.
    """

    keys: Int[Tensor, " G"]
    counts: Int[Tensor, " G"]
    common: Int[Tensor, " C"]
    weights: Float[Tensor, " C"]
    images: int
    size: int
    signature: str

    @classmethod
    def of(
        cls, keys: Int[Tensor, " G"], counts: Int[Tensor, " G"], images: int, size: int
    ) -> "DocumentFrequencies":
        """Return frequencies with what follows from them."""
        digest = hashlib.sha256(f"{size} {images}".encode())
        for tensor in (keys, counts):
            digest.update(tensor.numpy().tobytes())
        common = counts > 1
        common[:1] = True  # so that there is one to look at
        weights = math.log(images) - counts[common].double().log()
        return cls(keys, counts, keys[common], weights, images, size, digest.hexdigest())

    def to(self, device: torch.device | str) -> "DocumentFrequencies":
        """Return a copy on a device."""
        keys, counts, common, weights = (part.to(device) for part in self[:4])
        return self._replace(keys=keys, counts=counts, common=common, weights=weights)

    def idf(self, keys: Int[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        """Return log(images / images with the n-gram); an n-gram never seen counts as seen once."""
        place = torch.searchsorted(self.common, keys).clamp(max=len(self.common) - 1)
        return torch.where(self.common.take(place) == keys, self.weights.take(place), math.log(self.images))


def document_frequencies(references: Sequence[Sequence[Sequence[int]]], size: int) -> DocumentFrequencies:
    """Count in how many images each n-gram is said.

    Args:
        references: for each image its captions, each a list of word indices below ``size``.
        size: words of the vocabulary.

    Raises:
        ValueError: there are no captions, a word is not below ``size``, or it is too large for n-grams
            to be told apart.
    """
    if size > MOST_WORDS:
        raise ValueError(
            f"a vocabulary of {size} words is too large: at most {MOST_WORDS:,} can be told apart"
        )
    if not any(caption for image in references for caption in image):
        raise ValueError("document frequencies of no captions")
    parts = [
        _frequencies(references[start : start + _AT_ONCE], size)
        for start in range(0, len(references), _AT_ONCE)
    ]
    table, place = torch.unique(torch.cat([keys for keys, _ in parts]), return_inverse=True)
    seen = torch.zeros_like(table).scatter_add_(0, place, torch.cat([counts for _, counts in parts]))
    return DocumentFrequencies.of(table, seen, len(references), size)


def _frequencies(references: Sequence[Sequence[Sequence[int]]], size: int) -> tuple[Tensor, Tensor]:
    """Return the n-grams of some images, and in how many of these each is."""
    captions = [caption for image in references for caption in image]
    owner = torch.tensor([n for n, image in enumerate(references) for _ in image])
    words, lengths = pad(captions)
    if words.numel() and (int(words.min()) < 0 or int(words.max()) >= size):
        raise ValueError(f"word {int(words.max())} of a vocabulary of {size}")
    keys = ngrams(words, lengths, size)
    real = keys != _NONE
    flat, image = keys[real], owner[None, :, None].expand_as(keys)[real]
    by_image = image.sort(stable=True).indices
    flat, image = flat[by_image], image[by_image]
    by_gram = flat.sort(stable=True).indices  # and by image within it
    flat, image = flat[by_gram], image[by_gram]
    first = torch.ones_like(flat, dtype=torch.bool)
    first[1:] = (flat[1:] != flat[:-1]) | (image[1:] != image[:-1])
    table, seen = torch.unique_consecutive(flat[first], return_counts=True)
    return table, seen


class References(NamedTuple):
    """What rewards need of the references of a batch; they do not change while captions do.

    Attributes:
        keys: the different n-grams of each image, sorted, ``_NONE`` behind the last.
        counts: how often each comes in each reference.
        idf: of each n-gram.
        norms: length of the tf-idf vector of each reference.
        lengths: words of each reference; below 0 where an image has fewer than R.
        frequencies: from which ``idf`` is.
    """

    keys: Int[Tensor, "4 B U"]
    counts: Float[Tensor, "4 B R U"]
    idf: Float[Tensor, "4 B U"]
    norms: Float[Tensor, "4 B R"]
    lengths: Int[Tensor, "B R"]
    frequencies: DocumentFrequencies


def prepare(
    words: Int[Tensor, "B R T"], lengths: Int[Tensor, "B R"], frequencies: DocumentFrequencies
) -> References:
    """Count the n-grams of references.

    Args:
        words: references; what lies behind the length of one is not looked at.
        lengths: words of each that count, the end token included if it is to count; below 0 where an
            image has fewer than R references.
        frequencies: of n-grams, from the same vocabulary and with or without end token alike.
    """
    b, r = lengths.shape
    grams = ngrams(words.flatten(0, 1), lengths.flatten(), frequencies.size)
    grams = grams.reshape(len(ORDERS), b, -1)
    keys, place = distinct(grams)
    keys = keys[..., : int((keys != _NONE).sum(-1).max().clamp(min=1))].contiguous()
    place = place.clamp(max=keys.shape[-1] - 1)  # of what is no n-gram
    real = (grams != _NONE).double()
    counts = real.new_zeros(len(ORDERS), b, r, keys.shape[-1])
    each = (len(ORDERS), b, r, -1)
    counts.scatter_add_(3, place.view(each), real.view(each))
    idf = frequencies.idf(keys)
    norms = (counts * idf.unsqueeze(2)).square().sum(-1).sqrt()
    return References(keys, counts, idf, norms, lengths, frequencies)


def cider_d(
    words: Int[Tensor, "B N T"], lengths: Int[Tensor, "B N"], references: References
) -> Float[Tensor, "B N"]:
    """Return the CIDEr-D of every caption, times 10 as usual.

    Args:
        words: captions; what lies behind a caption's length is not looked at.
        lengths: words of each caption that count, the end token included if it is to count.
        references: of the same images.
    """
    mine, place, found = _among(words, lengths, references)
    h = (mine.counts * references.frequencies.idf(mine.keys)).unsqueeze(2)
    r = _of_each(references.counts * references.idf.unsqueeze(2), place) * found.unsqueeze(2)
    dot = (torch.minimum(h, r) * r).sum(-1)  # (4, B, R, N)
    norms = references.norms.unsqueeze(3) * h.square().sum(-1).sqrt()
    alike = torch.where(norms > 0, dot / norms.clamp(min=1e-300), 0).mean(0)
    reference = references.lengths.unsqueeze(2)
    gap = (lengths - 1).clamp(min=0).unsqueeze(1) - (reference - 1).clamp(min=0)
    alike = alike * torch.exp(-(gap.double() ** 2) / (2 * SIGMA**2))
    there = reference >= 0
    return 10 * (alike * there).sum(1) / there.sum(1).clamp(min=1)


def bleu(
    words: Int[Tensor, "B N T"], lengths: Int[Tensor, "B N"], references: References
) -> Float[Tensor, "B N"]:
    """Return the BLEU-4 of every caption as a sentence; arguments as of ``cider_d``."""
    mine, place, found = _among(words, lengths, references)
    most = _of_each(references.counts.amax(2, keepdim=True), place).squeeze(2) * found
    right = torch.minimum(mine.counts, most).sum(-1)
    orders = torch.tensor(ORDERS, device=words.device).view(-1, 1, 1)
    guesses = (lengths - orders + 1).clamp(min=0).double()
    score = ((right + _TINY) / (guesses + _SMALL)).prod(0) ** (1 / len(ORDERS))
    closest = _closest(lengths, references.lengths).double()
    ratio = (lengths + _TINY) / (closest + _SMALL)
    return score * torch.where(ratio < 1, torch.exp(1 - 1 / ratio), 1.0)


def pad(captions: Sequence[Sequence[int]]) -> tuple[Int[Tensor, "M T"], Int[Tensor, " M"]]:
    """Return captions as one tensor, zeros behind each, and their lengths."""
    lengths = torch.tensor([len(caption) for caption in captions], dtype=torch.long)
    words = torch.zeros(len(captions), int(lengths.max()) if len(captions) else 0, dtype=torch.long)
    inside = torch.arange(words.shape[1]) < lengths[:, None]
    words[inside] = torch.tensor([word for caption in captions for word in caption], dtype=torch.long)
    return words, lengths


def ngrams(words: Int[Tensor, "M T"], lengths: Int[Tensor, " M"], size: int) -> Int[Tensor, "4 M L"]:
    """Return the n-grams of captions as numbers, in their order, ``_NONE`` where there are no more."""
    count, length = words.shape
    keys = words.new_full((len(ORDERS), count, max(length, 1)), _NONE)
    place = torch.arange(length, device=words.device)
    gram = torch.zeros_like(words)
    for order in ORDERS[:length]:
        gram = gram[:, : length - order + 1] * size + words[:, order - 1 :]
        ends = place[: gram.shape[1]] + order > lengths.unsqueeze(1)
        keys[order - 1, :, : gram.shape[1]] = (gram + (order - 1) * size**4).masked_fill(ends, _NONE)
    return keys


def count(keys: Int[Tensor, "*S L"]) -> Counts:
    """Return the different keys of each caption, sorted, and how often each comes."""
    unique, place = distinct(keys)
    counts = torch.zeros(keys.shape, dtype=torch.float64, device=keys.device)
    return Counts(unique, counts.scatter_add_(-1, place, (keys != _NONE).double()))


def distinct(keys: Int[Tensor, "*S L"]) -> tuple[Int[Tensor, "*S L"], Int[Tensor, "*S L"]]:
    """Return the different keys of each row, sorted, ``_NONE`` behind them, and the place of each key."""
    ordered, index = keys.sort(-1)
    first = torch.ones_like(keys)
    first[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    group = first.cumsum(-1) - 1
    unique = torch.full_like(keys, _NONE).scatter_(-1, group, ordered)
    return unique, torch.empty_like(group).scatter_(-1, index, group)


def _among(
    words: Int[Tensor, "B N T"], lengths: Int[Tensor, "B N"], references: References
) -> tuple[Counts, Int[Tensor, "4 B N L"], Bool[Tensor, "4 B N L"]]:
    """Return the n-grams of captions, their places among those of the references, and which are there."""
    b, n = lengths.shape
    grams = ngrams(words.flatten(0, 1), lengths.flatten(), references.frequencies.size)
    mine = Counts(*(part.view(len(ORDERS), b, n, -1) for part in count(grams)))
    wanted = mine.keys.flatten(2)
    place = torch.searchsorted(references.keys, wanted).clamp(max=references.keys.shape[-1] - 1)
    found = (references.keys.gather(2, place) == wanted) & (wanted != _NONE)
    return mine, place.view_as(mine.keys), found.view_as(mine.keys)


def _of_each(values: Float[Tensor, "4 B R U"], place: Int[Tensor, "4 B N L"]) -> Float[Tensor, "4 B R N L"]:
    """Return the values of each reference at the places of captions' n-grams."""
    four, b, r, _ = values.shape
    spread = place.flatten(2).unsqueeze(2).expand(-1, -1, r, -1)
    return values.gather(3, spread).view(four, b, r, *place.shape[2:])


def _closest(lengths: Int[Tensor, "B N"], references: Int[Tensor, "B R"]) -> Int[Tensor, "B N"]:
    """Return the reference length nearest to each caption's, the shorter of two as near."""
    reference = references.unsqueeze(2)
    gap = (reference - lengths.unsqueeze(1)).abs() * 2 + (reference > lengths.unsqueeze(1))
    gap = gap.masked_fill(reference < 0, torch.iinfo(torch.int64).max)
    nearest = gap.argmin(1, keepdim=True)
    return reference.expand(-1, -1, lengths.shape[1]).gather(1, nearest).squeeze(1)
