"""Reading whole text files: what is wrong with one becomes one line that names it."""

from pathlib import Path

from bua.errors import InputError


def read_text(path: Path | str) -> str:
    """Return the text of a UTF-8 file, without a byte order mark.

    Raises:
        InputError: there is no such file, or it cannot be read as such.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from None
