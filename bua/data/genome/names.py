"""Vocabularies of classes and attributes: lists of names with synonyms."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from bua.data.genome.clean import clean_text
from bua.errors import InputError
from bua.text.names import read_synonyms


class LabelVocabulary:
    """Classes, or attributes, with their synonyms.

    Args:
        lines: Names of every class, starting with the name of the class itself.
    """

    def __init__(self, lines: Iterable[Iterable[str]]) -> None:
        self.lines = [tuple(dict.fromkeys(line)) for line in lines]
        self._ids = {name: n for n, line in enumerate(self.lines, 1) for name in line}

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def classes(self) -> list[str]:
        """Name of every class."""
        return [line[0] for line in self.lines]

    def id(self, name: str) -> int | None:
        """Return the class id of a cleaned name or synonym, starting at 1, or ``None`` if it is unknown."""
        return self._ids.get(name)

    @property
    def text(self) -> str:
        """Content of a vocabulary file: one class per line, names separated by commas."""
        return "".join(",".join(line) + "\n" for line in self.lines)


def read_label_vocabulary(path: Path | str) -> LabelVocabulary:
    """Read a vocabulary file: one class per line, its name first, synonyms separated by commas.

    Raises:
        InputError: If the file cannot be read or is empty, a name is empty, or two classes share a name.
    """
    lines: list[list[str]] = []
    line_of_name: dict[str, int] = {}
    for number, line in enumerate(read_synonyms(path), 1):
        names = [clean_text(name) for name in line]
        for name in names:
            if not name:
                raise InputError(f"{path}: line {number} has an empty name: {', '.join(line):.80}")
            if line_of_name.setdefault(name, number) != number:
                raise InputError(
                    f"{path}: {name!r} is on lines {line_of_name[name]} and {number}; "
                    "a name can belong to one class only"
                )
        lines.append(names)
    return LabelVocabulary(lines)


def most_frequent_labels(counts: Counter[str], size: int) -> tuple[LabelVocabulary, int]:
    """Build a vocabulary of the most frequent names, ties in alphabetical order.

    Names that a vocabulary file cannot represent are skipped: empty names, and names with a comma or an
    unprintable character.

    Args:
        counts: Number of occurrences of each name.
        size: Maximum number of names.

    Returns:
        The vocabulary, and the number of names that were skipped.
    """
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    chosen: list[list[str]] = []
    skipped = 0
    for name in ranked:
        if len(chosen) == size:
            break
        if _is_valid(name):
            chosen.append([name])
        else:
            skipped += 1
    return LabelVocabulary(chosen), skipped


def _is_valid(name: str) -> bool:
    """Return whether a name stays the same when it is written to a vocabulary file and read back."""
    return bool(name) and "," not in name and clean_text(name) == name and name.isprintable()
