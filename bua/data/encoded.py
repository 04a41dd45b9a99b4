"""Captions as word indices, made once and kept in few bytes."""

from array import array
from collections.abc import Iterable, Sequence
from itertools import pairwise

from bua.text.vocabulary import Vocabulary

#: A caption as word indices.
Encoded = list[int]


class EncodedCaptions:
    """The captions of images as word indices, end to end: as lists they would take ten times as much.

    Args:
        captions: of each image.
        vocabulary: makes words and indices of them.
    """

    def __init__(self, captions: Iterable[Sequence[str]], vocabulary: Vocabulary) -> None:
        self._words, self._ends, self._images = array("i"), array("q", [0]), array("q", [0])
        for texts in captions:
            for text in texts:
                self._words.extend(vocabulary.encode(text))
                self._ends.append(len(self._words))
            self._images.append(len(self._ends) - 1)

    def __len__(self) -> int:
        return len(self._images) - 1

    def __getitem__(self, image: int) -> list[Encoded]:
        first, last = self._images[image], self._images[image + 1]
        return [self._words[a:b].tolist() for a, b in pairwise(self._ends[first : last + 1])]
