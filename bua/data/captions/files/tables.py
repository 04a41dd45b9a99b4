"""The images and captions of tables: Flickr's token files, and CSV files with a header, such as Kaggle's."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bua.data.captions.files.entries import CaptionText, Entry
from bua.errors import InputError
from bua.io.schema import Report

#: The name of an image, the number of a caption, and the caption.
_TOKEN_LINE = re.compile(r"(.+)#(\d+)\t(.*)")
#: Names of the columns in headers.
_IMAGE_COLUMNS = ("image", "image_name", "image_id", "file_name", "filename")
_CAPTION_COLUMNS = ("caption", "comment")
_DELIMITERS = (",", "|", "\t", ";")


class _Row(NamedTuple):
    """A caption of a table: name of the image, the caption, and its name in messages."""

    image: str
    text: str
    name: str


def table_entries(text: str, path: Path | str, report: Report) -> tuple[str, list[Entry]] | None:
    """Return the name of the format and the images of a table, or ``None`` for a text that is none.

    The id of an image is its file name, or a number if all of them are numbers.

    Args:
        text: Content of the file.
        path: Path of the file, for messages.
        report: Called with every line that is wrong.

    Raises:
        InputError: If the quotes of a CSV file are broken.
    """
    first = next((line for line in text.split("\n") if line.strip()), "")
    if _TOKEN_LINE.fullmatch(first.rstrip("\r")):
        return "Flickr's token file", _group(_token_rows(text, report))
    for delimiter in _DELIMITERS:
        header = [name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter), [])]
        image = next((header.index(name) for name in _IMAGE_COLUMNS if name in header), None)
        caption = next((header.index(name) for name in _CAPTION_COLUMNS if name in header), None)
        if image is not None and caption is not None:
            try:
                rows = list(_csv_rows(text, delimiter, (image, caption, len(header)), report))
            except csv.Error as error:
                raise InputError(f"{path}: not valid CSV: {error}") from None
            return "CSV", _group(rows)
    return None


def _token_rows(text: str, report: Report) -> Iterator[_Row]:
    seen: set[str] = set()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        match = _TOKEN_LINE.fullmatch(line.rstrip("\r"))
        if match is None:
            report(f"line {number}: {line!r:.60} must be an image, # and a number, a tab, and a caption")
        elif (key := f"{match[1]}#{match[2]}") in seen:
            report(f"line {number}: caption {key} is duplicated")
        else:
            seen.add(key)
            yield _Row(match[1], match[3], f"caption {match[2]}")


def _csv_rows(text: str, delimiter: str, columns: tuple[int, int, int], report: Report) -> Iterator[_Row]:
    """Yield the rows below the header; ``columns`` are those of image and caption, and their number."""
    image, caption, count = columns
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    if delimiter == "|":  # Kaggle's Flickr30k, where quotes are part of captions
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=csv.QUOTE_NONE)
    rows = (row for row in reader if any(field.strip() for field in row))
    next(rows)
    for row in rows:
        if len(row) != count:
            hint = f"; a caption with {delimiter!r} needs quotes" if len(row) > count else ""
            report(f"line {reader.line_num}: has {len(row)} fields, expected {count}{hint}")
            continue
        yield _Row(row[image].strip(), row[caption].strip(), f"line {reader.line_num}")


def _group(rows: Iterator[_Row] | list[_Row]) -> list[Entry]:
    """Return the images in the order of their first caption."""
    captions: dict[str, list[CaptionText]] = {}
    for row in rows:
        captions.setdefault(row.image, []).append(CaptionText(row.name, row.text))
    numbers = all(name.isdecimal() for name in captions)
    return [Entry(int(name) if numbers else name, name, texts) for name, texts in captions.items()]
