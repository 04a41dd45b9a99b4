"""Where the photographs of Visual Genome lie and how large they are."""

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from PIL import Image

from bua.data.genome.source import Picture
from bua.detectors.photo import FORMATS
from bua.errors import InputError

#: The two archives of photographs unpack into these.
FOLDERS = ("VG_100K", "VG_100K_2")
_ORIENTATION, _SIDEWAYS = 0x0112, range(5, 9)  # EXIF


def find_photographs(
    pictures: Mapping[int, Picture], folder: Path | str
) -> tuple[dict[int, Picture], list[str]]:
    """Look up every photograph, and take its size from the file, as the released detector did.

    Args:
        pictures: the images by id.
        folder: holds the photographs, or the folders ``VG_100K`` and ``VG_100K_2`` with them.

    Returns:
        The images whose photographs can be opened, with ``file_name`` below ``folder`` and the size
        after EXIF rotation in pixels; and a line for every other image.

    Raises:
        InputError: there is no such folder, or none of the photographs is in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder")
    own = {str(PurePosixPath(p.file_name).parent) for p in pictures.values()}
    places = {place: _names(folder / place) for place in (*sorted(own), *FOLDERS, ".")}
    found: dict[int, Picture] = {}
    problems: list[str] = []
    for image_id, picture in pictures.items():
        name = PurePosixPath(picture.file_name)
        order = (str(name.parent), *FOLDERS, ".")
        place = next((place for place in order if name.name in places[place]), None)
        if place is None:
            problems.append(f"image {image_id}: there is no photograph {name.name}")
            continue
        path = folder / place / name.name
        try:
            width, height = photograph_size(path)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            problems.append(f"image {image_id}: {path} is not a photograph ({error})")
            continue
        file_name = (PurePosixPath(place) / name.name).as_posix()
        found[image_id] = picture._replace(file_name=file_name, width=width, height=height)
    if not found:
        raise InputError(
            f"{folder}: none of the {len(pictures)} photographs is in it, in {FOLDERS[0]} or in {FOLDERS[1]} "
            f"({problems[0]})"
        )
    return found, problems


def photograph_size(path: Path) -> tuple[int, int]:
    """Return width and height in pixels after EXIF rotation; only the head of the file is read."""
    with Image.open(path, formats=FORMATS) as image:
        width, height = image.size
        sideways = image.getexif().get(_ORIENTATION) in _SIDEWAYS
    return (height, width) if sideways else (width, height)


def _names(folder: Path) -> frozenset[str]:
    if not folder.is_dir():
        return frozenset()
    with os.scandir(folder) as entries:
        return frozenset(entry.name for entry in entries)
