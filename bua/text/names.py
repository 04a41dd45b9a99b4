"""Vocabularies of classes and attributes as files: a class a line, its synonyms behind commas."""

from pathlib import Path

from bua.errors import InputError
from bua.io.json_file import read_json
from bua.io.text_file import read_text


def read_synonyms(path: Path | str) -> list[list[str]]:
    """Return the names of every class of a text file, stripped, the first of each its own.

    Raises:
        InputError: the file cannot be read or is empty, or a name in it is.
    """
    found = []
    for number, line in enumerate(read_text(path).rstrip().splitlines(), 1):
        names = [name.strip() for name in line.split(",")]
        if not all(names):
            raise InputError(f"{path}: line {number} is {line!r:.80}; names separated by commas are needed")
        found.append(names)
    if not found:
        raise InputError(f"{path}: there are no names in it")
    return found


def read_names(path: Path | str, kind: str) -> tuple[str, ...]:
    """Return the name of every class.

    Args:
        path: a text file with a class a line (``objects_vocab.txt``); a JSON list of names; or the
            JSON of VinVL with ``label_to_idx`` and ``attribute_to_idx``, which count from 1.
        kind: ``label`` or ``attribute``: which of the two in VinVL's file.

    Raises:
        InputError: there is no such file, or it is none of these.
    """
    if Path(path).suffix.lower() != ".json":
        return tuple(names[0] for names in read_synonyms(path))
    content = read_json(Path(path))
    if isinstance(content, dict) and isinstance(content.get(f"{kind}_to_idx"), dict):
        found = {n: name for name, n in content[f"{kind}_to_idx"].items() if n != 0}
        if sorted(found) != list(range(1, len(found) + 1)):
            raise InputError(f"{path}: {kind}_to_idx does not number its names from 1 on")
        return tuple(found[n] for n in range(1, len(found) + 1))
    if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
        raise InputError(f"{path}: a JSON list of names, or one with {kind}_to_idx, is needed")
    return tuple(content)
