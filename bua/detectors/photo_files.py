"""Image files and the ids of their images: from a folder, a list, or a COCO JSON."""

import glob
import itertools
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bua.errors import InputError
from bua.io.coco import coco_images
from bua.io.files import read_json, read_text
from bua.io.folder import FolderFiles, list_folder
from bua.structures.annotations import ImageId

#: Suffixes of image files that are decoded.
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
#: Suffixes of image files that cannot be decoded. In a folder they are reported instead of skipped.
UNSUPPORTED_SUFFIXES = (".heic", ".heif", ".jxl", ".jp2", ".psd", ".dng", ".cr2", ".nef")

#: 000000000139.jpg (2017) and COCO_val2014_000000000139.jpg (2014).
_COCO_NAME = re.compile(r"(?:COCO_[a-z]+\d{4}_)?(\d{12})\.\w+")
#: A path and the id of its image, as in the lists of the paper.
_PATH_AND_ID = re.compile(r"(.*\.\w+)\s+(\d+)")


@dataclass(frozen=True)
class PhotoFile:
    """An image file and the id of the image.

    Attributes:
        image_id: Id of the image.
        path: Path of the file.
    """

    image_id: ImageId
    path: Path


def find_photos(source: Path | str | Sequence[Path | str], root: Path | str | None = None) -> list[PhotoFile]:
    """List the image files that ``source`` stands for, in a fixed order.

    An existing file or folder is itself, whatever its name. Any other text is split at commas; a part that
    does not exist is a pattern such as ``photos/*.jpg``. Files of a folder or pattern that are not images, or
    hidden, are counted on stderr.

    Args:
        source: An image, a folder (searched with its subfolders), a text file with one path per line,
            optionally followed by the id of the image, a COCO JSON whose ``images`` have ``id`` and
            ``file_name``, a pattern (``**`` stands for any folders), or several of these.
        root: Folder that file names in a list or a JSON are relative to. Default: the folder of the list,
            or ``images`` beside it.

    Returns:
        The files with image ids: those of the JSON or of the list; otherwise the numbers in the file names if
        all of them follow COCO's pattern; otherwise the paths relative to the folder, to the folder before
        the first wildcard of a pattern, or to the folder that several sources have in common.

    Raises:
        InputError: If a source does not exist or has no images, or an id is duplicated.
    """
    sources = [source] if isinstance(source, Path | str) else source
    parts = [part for each in sources for part in _expand(each)]
    if not parts:
        raise InputError("no images are given")
    shown = ", ".join(map(str, sources))
    listed = [photo for part in parts if part.is_list for photo in _from_list_or_json(part.given, root)]
    bases = [os.path.abspath(part.base) for part in parts if not part.is_list]
    folder = Path(os.path.commonpath(bases)) if bases else Path()
    named = [(_relative(path, folder), path) for part in parts if not part.is_list for path in part.files()]
    photos = listed + (_with_ids(named, shown) if named else [])
    if len({type(photo.image_id) for photo in photos}) > 1:
        raise InputError(f"{shown}: image ids must be all integers or all texts, found both")
    paths_by_id: dict[ImageId, Path] = {}
    for photo in photos:
        if photo.image_id in paths_by_id:
            first = paths_by_id[photo.image_id]
            raise InputError(f"{shown}: image {photo.image_id!r} is duplicated: {first} and {photo.path}")
        paths_by_id[photo.image_id] = photo.path
    return photos


@dataclass(frozen=True)
class _Part:
    """One of the sources of images: a file, a folder or a pattern.

    Attributes:
        given: Path or pattern, as it was given.
        is_pattern: Whether it is a pattern.
    """

    given: Path
    is_pattern: bool = False

    @property
    def is_list(self) -> bool:
        """Whether it is a file that lists images."""
        is_file = not self.is_pattern and not self.given.is_dir()
        return is_file and self.given.suffix.lower() in (".json", ".txt", ".lst")

    @property
    def base(self) -> Path:
        """Folder that the names of its images are relative to."""
        if not self.is_pattern:
            return self.given if self.given.is_dir() else self.given.parent
        parts = self.given.parent.parts
        fixed = itertools.takewhile(lambda part: not glob.has_magic(part), parts)
        return Path(*fixed)

    def files(self) -> list[Path]:
        """Return its image files, and report on stderr what was skipped."""
        if not self.is_pattern and not self.given.is_dir():
            return [self.given]
        found = _matches(self.given) if self.is_pattern else list_folder(self.given)
        paths = [path for path in found.files if path.suffix.lower() in SUFFIXES + UNSUPPORTED_SUFFIXES]
        counts = {"hidden": found.num_hidden, "not images": len(found.files) - len(paths)}
        skipped = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        if not paths:
            kind = "pattern matches" if self.is_pattern else "folder has"
            raise InputError(f"{self.given}: {kind} no images ({', '.join(SUFFIXES)})")
        if skipped:
            print(f"{self.given}: {len(paths)} images; skipped: {skipped}", file=sys.stderr)
        return paths


def _expand(source: Path | str) -> list[_Part]:
    """Return the parts of a source.

    Raises:
        InputError: If a part does not exist and is not a pattern.
    """
    if os.path.exists(source):  # false of a text that is too long for a name
        return [_Part(Path(source))]
    parts = [part.strip() for part in str(source).split(",") if part.strip()]
    if len(parts) > 1:
        return [found for part in parts for found in _expand(part)]
    if not glob.has_magic(str(source)):
        raise InputError(f"{source}: file or folder does not exist")
    return [_Part(Path(source), is_pattern=True)]


def _matches(pattern: Path) -> FolderFiles:
    """Return the files that match a pattern; wildcards match no hidden files."""
    found = (Path(path) for path in sorted(glob.glob(str(pattern), recursive=True)))
    return FolderFiles([path for path in found if path.is_file()], 0)


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _from_list_or_json(source: Path, root: Path | str | None) -> list[PhotoFile]:
    return _from_json(source, root) if source.suffix.lower() == ".json" else _from_list(source, root)


def _with_ids(files: list[tuple[str, Path]], source: Path | str) -> list[PhotoFile]:
    """Use COCO's numbers as ids if all files are named as in COCO, otherwise the names as they are."""
    numbers = [_COCO_NAME.fullmatch(path.name) for _, path in files]
    if all(numbers):
        return [PhotoFile(int(n[1]), path) for n, (_, path) in zip(numbers, files, strict=True) if n]
    if 2 * (count := sum(map(bool, numbers))) > len(files):
        other = next(name for number, (name, _) in zip(numbers, files, strict=True) if not number)
        print(
            f"{source}: the names of {count} of {len(files)} images are numbers of COCO, but not {other}; so "
            "ids are names, not numbers",
            file=sys.stderr,
        )
    return [PhotoFile(name, path) for name, path in files]


def _from_json(source: Path, root: Path | str | None) -> list[PhotoFile]:
    images = coco_images(read_json(source), source, named=True)
    if len({type(image["id"]) for image in images}) > 1:
        raise InputError(f"{source}: image ids must be all integers or all strings, found both")
    if not images:
        raise InputError(f'{source}: list "images" is empty')
    names = [image["file_name"] for image in images]
    folder = _image_folder(source, root, names[0])
    return [
        PhotoFile(image["id"], resolve_name(folder, name)) for image, name in zip(images, names, strict=True)
    ]


def _from_list(source: Path, root: Path | str | None) -> list[PhotoFile]:
    names = [name for line in read_text(source).splitlines() if (name := line.strip())]
    if not names:
        raise InputError(f"{source}: list has no paths")
    with_ids = [_PATH_AND_ID.fullmatch(name) for name in names]
    if all(with_ids) and not (_image_folder(source, root, names[0]) / names[0]).exists():
        pairs = [(match[1], int(match[2])) for match in with_ids if match]
        folder = _image_folder(source, root, pairs[0][0])
        return [PhotoFile(image_id, resolve_name(folder, name)) for name, image_id in pairs]
    folder = _image_folder(source, root, names[0])
    return _with_ids([(name, resolve_name(folder, name)) for name in names], source)


def resolve_name(folder: Path, name: str) -> Path:
    """Return the path of a file name in a list or JSON; one of Windows may have backslashes for slashes.

    Args:
        folder: Folder that the name is relative to.
        name: Name as it is written.
    """
    path = folder / name
    if "\\" in name and not path.exists():
        return folder / name.replace("\\", "/")
    return path


def _image_folder(source: Path, root: Path | str | None, first_name: str) -> Path:
    if root is not None:
        if not Path(root).is_dir():
            raise InputError(f"root={root}: folder does not exist")
        return Path(root)
    images = source.parent / "images"
    is_beside = resolve_name(source.parent, first_name).exists()
    return source.parent if is_beside or not images.is_dir() else images
