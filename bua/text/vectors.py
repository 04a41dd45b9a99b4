"""Read word vectors in the text format of GloVe and fastText, which has one word per line.

The files hold millions of words; only the requested ones are kept in memory.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError

Vectors = Mapping[str, NDArray[np.float32]]
_SPACES = re.compile(" +")


def read_vectors(path: Path | str, words: Collection[str], size: int) -> Vectors:
    """Return the vectors of the requested words that the file contains.

    Of a duplicate word the first vector is taken. Tokens that contain spaces, as in glove.840B, are
    skipped, and so is the header of fastText, a first line of two integers. Columns may be separated by tabs
    or several spaces.

    Args:
        path: Text file.
        words: Words to look up.
        size: Expected dimension of the vectors.

    Raises:
        InputError: If the file cannot be read, or if a line is not a word with ``size`` numbers.
    """
    requested, vectors = frozenset(words), dict[str, NDArray[np.float32]]()
    try:
        with open(path, encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, 1):
                line = line.rstrip().replace("\t", " ")
                if "  " in line:  # columns that are aligned
                    line = _SPACES.sub(" ", line)
                if not (number == 1 and _is_header(line)):
                    _read_line(line, requested, size, vectors, f"{path}:{number}")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: word vectors cannot be read ({error})") from None
    return vectors


def _read_line(
    line: str, requested: frozenset[str], size: int, vectors: dict[str, NDArray[np.float32]], place: str
) -> None:
    """Add the vector of a line to ``vectors`` if its word is requested."""
    word, _, rest = line.partition(" ")
    count = rest.count(" ") + 1 if rest else 0
    if count > size:  # a token with spaces, unless all of the extra fields are numbers
        extra = rest.split(" ")[: count - size]
        if not all(_is_number(field) for field in extra):
            return
    if count != size:
        raise InputError(f"{place}: {word!r:.60} has {count} numbers, expected {size}")
    if word in requested and word not in vectors:
        try:
            vector = np.array(rest.split(" "), np.float32)
        except ValueError:
            raise InputError(f"{place}: {word!r:.60} is not followed by {size} numbers") from None
        if not np.isfinite(vector).all():
            raise InputError(f"{place}: the vector of {word!r:.60} is not finite")
        vectors[word] = vector


def _is_header(line: str) -> bool:
    fields = line.split(" ")
    return len(fields) == 2 and all(field.isdecimal() for field in fields)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def mean_vectors(
    texts: Sequence[Sequence[str]], vectors: Vectors, size: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the mean word vector of each text, ignoring words without a vector.

    Args:
        texts: Words of each text.
        vectors: Vector of each known word, shape (size,).
        size: Dimension of the vectors.

    Returns:
        Means, shape (texts, size), zeros where no word has a vector; and a mask of the texts that have
        at least one, shape (texts,).
    """
    means = np.zeros((len(texts), size), np.float32)
    known = np.zeros(len(texts), np.bool_)
    for n, text in enumerate(texts):
        found = [vectors[word] for word in text if word in vectors]
        if found:
            means[n], known[n] = np.mean(found, 0), True
    return means, known
