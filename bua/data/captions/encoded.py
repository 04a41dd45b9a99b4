"""Captions as word indices, made once and kept in few bytes."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from bua.store.reader import ImageId
from bua.text.vocabulary import Vocabulary

#: A caption as word indices.
Encoded = list[int]


class EncodedCaptions:
    """The captions of images as word indices, end to end: as lists they would take ten times as much."""

    def __init__(self) -> None:
        self._words, self._ends, self._images = array("i"), array("q", [0]), array("q", [0])

    def append(self, texts: Iterable[Encoded]) -> None:
        """Add the captions of an image."""
        for words in texts:
            self._words.extend(words)
            self._ends.append(len(self._words))
        self._images.append(len(self._ends) - 1)

    def __len__(self) -> int:
        return len(self._images) - 1

    def __getitem__(self, image: int) -> list[Encoded]:
        first, last = self._images[image], self._images[image + 1]
        return [self._words[a:b].tolist() for a, b in pairwise(self._ends[first : last + 1])]


def encode(
    captions: Mapping[ImageId, Sequence[str]], vocabulary: Vocabulary
) -> tuple[dict[ImageId, list[str]], EncodedCaptions]:
    """Return the captions that have a word, as texts by image and as word indices in the same order.

    Images without such a caption are left out.
    """
    spoken, encoded = dict[ImageId, list[str]](), EncodedCaptions()
    for image_id, texts in captions.items():
        pairs = [(text, words) for text in texts if (words := vocabulary.encode(text))]
        if pairs:
            spoken[image_id] = [text for text, _ in pairs]
            encoded.append(words for _, words in pairs)
    return spoken, encoded
