"""Vocabularies of classes and attributes: lists of names, each with its synonyms."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from bua.data.genome.clean import clean_text
from bua.errors import InputError
from bua.text.names import read_synonyms


class Names:
    """Classes in their order; several names may mean one class.

    Args:
        lines: for every class its names, of which the first is the name of the class.
    """

    def __init__(self, lines: Iterable[Iterable[str]]) -> None:
        self.lines = [tuple(dict.fromkeys(line)) for line in lines]
        self._ids = {name: n for n, line in enumerate(self.lines, 1) for name in line}

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def classes(self) -> list[str]:
        """The name of every class."""
        return [line[0] for line in self.lines]

    def id(self, name: str) -> int | None:
        """Return the number of the class that a cleaned name means, from 1; None if there is none."""
        return self._ids.get(name)

    @property
    def text(self) -> str:
        """The classes as a file has them, a line each with synonyms behind commas."""
        return "".join(",".join(line) + "\n" for line in self.lines)


def read_names(path: Path | str) -> Names:
    """Read a vocabulary: a class a line, its synonyms separated by commas, its own name first.

    Raises:
        InputError: the file cannot be read or is empty, a line names nothing, or two lines have the
            same name, so that it is not known which class it means.
    """
    lines: list[list[str]] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(read_synonyms(path), 1):
        names = [clean_text(name) for name in line]
        for name in names:
            if not name:
                raise InputError(f"{path}: line {number} names nothing: {', '.join(line):.80}")
            if seen.setdefault(name, number) != number:
                raise InputError(
                    f"{path}: {name!r} is on line {seen[name]} and on line {number}; "
                    "a name can mean one class only"
                )
        lines.append(names)
    return Names(lines)


def most_frequent(counts: Counter[str], most: int) -> tuple[Names, int]:
    """Make classes of the most frequent names, and say how many among them had to be passed over.

    Of equally frequent names the alphabetically first is taken. Passed over are names that a file of
    names cannot hold: nothing, and what has a comma or a character that cannot be printed in it.
    """
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    chosen: list[list[str]] = []
    passed = 0
    for name in ranked:
        if len(chosen) == most:
            break
        if _fits(name):
            chosen.append([name])
        else:
            passed += 1
    return Names(chosen), passed


def _fits(name: str) -> bool:
    """Say whether reading a name back from a file of names gives the same name."""
    return bool(name) and "," not in name and clean_text(name) == name and name.isprintable()
