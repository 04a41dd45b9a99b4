"""Find the image files of Visual Genome, and read their sizes."""

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from bua.data.genome.source import GenomeImage
from bua.detectors.photo import FORMATS
from bua.errors import InputError
from bua.io.orientation import read_header

#: Folders of the two image archives.
FOLDERS = ("VG_100K", "VG_100K_2")


def find_genome_photos(
    images: Mapping[int, GenomeImage], folder: Path | str
) -> tuple[dict[int, GenomeImage], list[str]]:
    """Find the file of every image, and read its size from the file, as the released detector did.

    Args:
        images: Images by id.
        folder: Folder of the photos, or of the folders ``VG_100K`` and ``VG_100K_2``.

    Returns:
        Images whose file is readable, with ``file_name`` relative to ``folder`` and the size in pixels
        after EXIF rotation; and one line for every other image. Where image_data.json has the size of the
        stored image instead, ``turned_by`` is its header, with which its boxes must be turned.

    Raises:
        InputError: If the folder does not exist or contains none of the photos.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: folder does not exist")
    parents = {str(PurePosixPath(image.file_name).parent) for image in images.values()}
    names = {parent: _file_names(folder / parent) for parent in (*sorted(parents), *FOLDERS, ".")}
    found: dict[int, GenomeImage] = {}
    problems: list[str] = []
    for image_id, image in images.items():
        file_name = PurePosixPath(image.file_name)
        candidates = (str(file_name.parent), *FOLDERS, ".")
        parent = next((parent for parent in candidates if file_name.name in names[parent]), None)
        if parent is None:
            problems.append(f"image {image_id}: photo {file_name.name} does not exist")
            continue
        path = folder / parent / file_name.name
        try:
            header = read_header(path, FORMATS)
        except InputError as error:
            problems.append(f"image {image_id}: {error}")
            continue
        relative = (PurePosixPath(parent) / file_name.name).as_posix()
        width, height = header.turned_size
        turned_by = header if header.has_unturned_size(image.width, image.height) else None
        found[image_id] = image._replace(file_name=relative, width=width, height=height, turned_by=turned_by)
    if not found:
        raise InputError(
            f"{folder}: contains none of the {len(images)} photos, neither directly nor in "
            f"{FOLDERS[0]} or {FOLDERS[1]} ({problems[0]})"
        )
    return found, problems


def _file_names(folder: Path) -> frozenset[str]:
    if not folder.is_dir():
        return frozenset()
    with os.scandir(folder) as entries:
        return frozenset(entry.name for entry in entries)
