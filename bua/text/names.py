"""Read lists of class and attribute names; text files hold one class per line with its synonyms."""

from pathlib import Path

from bua.errors import InputError
from bua.io.files import read_json, read_text
from bua.io.schema import Integer, validate


def read_synonyms(path: Path | str) -> list[list[str]]:
    """Return the names of every class in a text file: first its own name, then its synonyms.

    A line is one class, its names are separated by commas.

    Raises:
        InputError: If the file cannot be read or is empty, or if a name is empty.
    """
    classes = []
    for number, line in enumerate(read_text(path).rstrip().splitlines(), 1):
        names = [name.strip() for name in line.split(",")]
        if not all(names):
            raise InputError(
                f"{path}: line {number} has an empty name, expected names separated by commas, "
                f"got {line!r:.80}"
            )
        classes.append(names)
    if not classes:
        raise InputError(f"{path}: contains no names")
    return classes


def read_names(path: Path | str, kind: str) -> tuple[str, ...]:
    """Return the name of every class.

    Args:
        path: Text file with one class per line (``objects_vocab.txt``), JSON list of names, or VinVL's
            JSON object with ``label_to_idx`` and ``attribute_to_idx``, whose indices start at 1.
        kind: Which of the two mappings of VinVL's file to read, "label" or "attribute".

    Raises:
        InputError: If the file does not exist or has none of these formats.
    """
    if Path(path).suffix.lower() != ".json":
        return tuple(names[0] for names in read_synonyms(path))
    content = read_json(Path(path))
    if isinstance(content, dict) and f"{kind}_to_idx" in content:
        indices = content[f"{kind}_to_idx"]
        validate(indices, dict[str, Integer], path, f"{kind}_to_idx")
        names = {n: name for name, n in indices.items() if n != 0}
        if sorted(names) != list(range(1, len(names) + 1)):
            raise InputError(f"{path}: the indices of {kind}_to_idx must be 1 to {len(names)} without gaps")
        return tuple(names[n] for n in range(1, len(names) + 1))
    validate(content, list[str], path, f"not a list of names, nor an object with {kind}_to_idx")
    return tuple(content)
