"""Read text and JSON files.

Every problem with a file is raised as an ``InputError`` of one line that names the file.
"""

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bua.errors import InputError


def read_text(path: Path | str) -> str:
    """Return the text of a UTF-8 file without a byte order mark.

    Raises:
        InputError: If the file does not exist or is not readable as UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: file does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from None


def read_json(path: Path | str) -> Any:
    """Return the content of a JSON file.

    Raises:
        InputError: If the file does not exist or is not valid JSON; the line and column are named.
    """
    return _parse(path, None)


def read_members(path: Path | str) -> Any:
    """Return the members of the object in a JSON file as (name, value) pairs, keeping duplicate names.

    Nested objects become lists of pairs as well.

    Raises:
        InputError: If the file does not exist or is not valid JSON.
    """
    return _parse(path, list)


def _parse(path: Path | str, pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None) -> Any:
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=pairs_hook)
    except json.JSONDecodeError as error:
        is_json_lines = error.msg == "Extra data" and error.lineno > 1
        hint = "; this looks like JSON lines, combine them into one list (jq -s)" if is_json_lines else ""
        raise InputError(
            f"{path}: not valid JSON: {error.msg} at line {error.lineno} column {error.colno}{hint}"
        ) from None
    except ValueError as error:  # an integer of thousands of digits
        raise InputError(f"{path}: not valid JSON: {error}") from None
    except RecursionError:
        raise InputError(f"{path}: not valid JSON: nested too deeply") from None


def file_sha256(path: Path | str) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_archive(path: Path | str) -> None:
    """Check the content of a zip archive, such as a file of ``torch.save``, against its own checksums.

    ``torch.save`` writes a CRC-32 of every tensor, which ``torch.load`` ignores. Files in torch's earlier
    format have none and are not checked.

    Raises:
        InputError: If the content differs from its checksums.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(f"{path}: damaged: {error}") from None
    if damaged is not None:
        raise InputError(f"{path}: damaged: {damaged} differs from its checksum")
