"""Captions that break off: those whose last word calls for another."""

import string
from collections.abc import Iterable

#: Words that end no caption. Ours: articles, prepositions, possessives and "and".
BAD_ENDINGS = frozenset(
    ["a", "an", "the", "this", "that", "his", "her", "its", "their", "of", "in", "on", "at", "to", "with"]
    + ["for", "from", "by", "near", "and", "is", "are", "next"]
)

_MARKS = string.punctuation + string.whitespace


def bad_endings(captions: Iterable[str]) -> float:
    """Return the share of captions whose last word is one of ``BAD_ENDINGS``, or that have no words.

    Punctuation behind it does not count.
    """
    last = [(caption.rstrip(_MARKS).split() or [""])[-1].lower() for caption in captions]
    return sum(word in BAD_ENDINGS or not word for word in last) / len(last) if last else 0.0
