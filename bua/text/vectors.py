"""Word vectors in the text format of GloVe and fastText: a word and its numbers, one word a line.

The files hold millions of words; only those that are wanted are kept.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError

Vectors = Mapping[str, NDArray[np.float32]]


def read_vectors(path: Path | str, words: Collection[str], size: int) -> Vectors:
    """Return the vectors of some words, as far as there are any.

    A word that comes twice has its first vector. Tokens with spaces in them, as glove.840B has, are
    passed over. A first line of two whole numbers is fastText's heading.

    Args:
        path: the file.
        words: that are wanted.
        size: numbers a word that are needed.

    Raises:
        InputError: the file cannot be read, or a line is not a word and so many numbers.
    """
    wanted, found = frozenset(words), dict[str, NDArray[np.float32]]()
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, 1):
                line = line.rstrip()
                if not (number == 1 and _is_heading(line)):
                    _take(line, wanted, size, found, f"{path}:{number}")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: word vectors cannot be read ({error})") from None
    return found


def _take(
    line: str, wanted: frozenset[str], size: int, found: dict[str, NDArray[np.float32]], where: str
) -> None:
    """Keep the vector of a line if its word is wanted."""
    word, _, rest = line.partition(" ")
    count = rest.count(" ") + 1 if rest else 0
    if count > size:  # a token with spaces, unless there are numbers behind its first part
        behind = rest.split(" ")[: count - size]
        if not all(_is_number(part) for part in behind):
            return
    if count != size:
        raise InputError(f"{where}: {word!r} has {count} numbers; a vector of {size} is needed")
    if word in wanted and word not in found:
        try:
            vector = np.array(rest.split(" "), np.float32)
        except ValueError:
            raise InputError(f"{where}: what stands behind {word!r} is not {size} numbers") from None
        if not np.isfinite(vector).all():
            raise InputError(f"{where}: the vector of {word!r} has numbers that are not finite")
        found[word] = vector


def _is_heading(line: str) -> bool:
    parts = line.split(" ")
    return len(parts) == 2 and all(part.isdecimal() for part in parts)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def mean_vectors(
    texts: Sequence[Sequence[str]], vectors: Vectors, size: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return for each text the mean of the vectors of its words, and which texts have any.

    Words without a vector are left out of the mean.
    """
    rows = np.zeros((len(texts), size), np.float32)
    known = np.zeros(len(texts), np.bool_)
    for n, text in enumerate(texts):
        have = [vectors[word] for word in text if word in vectors]
        if have:
            rows[n], known[n] = np.mean(have, 0), True
    return rows, known
