"""Measure how many captions break off, ending in a word that must be followed by another."""

import string
from collections.abc import Iterable

#: Words that no caption should end with. Own list: articles, prepositions, possessives, "and".
BAD_ENDINGS = frozenset(
    ["a", "an", "the", "this", "that", "his", "her", "its", "their", "of", "in", "on", "at", "to", "with"]
    + ["for", "from", "by", "near", "and", "is", "are", "next"]
)

_NOT_WORDS = string.punctuation + string.whitespace


def bad_ending_rate(captions: Iterable[str]) -> float:
    """Return the fraction of captions that end in one of ``BAD_ENDINGS`` or have no words.

    Punctuation after the last word is ignored.
    """
    last_words = [(caption.rstrip(_NOT_WORDS).split() or [""])[-1].lower() for caption in captions]
    return (
        sum(word in BAD_ENDINGS or not word for word in last_words) / len(last_words) if last_words else 0.0
    )
