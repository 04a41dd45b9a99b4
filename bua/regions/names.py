"""Names of classes and attributes from a vocabulary file."""

from pathlib import Path

from bua.errors import InputError


def read_names(file: str | Path | None) -> list[str] | None:
    """Return the names in a file, the first of the synonyms on each line; none without a file.

    Raises:
        InputError: there is no such file, or it has an empty line between others.
    """
    if file is None:
        return None
    path = Path(file)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; a name a line is needed")
    try:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a list of names in UTF-8 ({error})") from None
    names = [line.split(",")[0].strip() for line in lines]
    if "" in names:
        raise InputError(f"{path}: line {names.index('') + 1} has no name")
    return names
