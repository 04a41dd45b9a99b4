"""Image files and the ids of their images: from a folder, a list, or a COCO JSON."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from bua.errors import InputError
from bua.io.coco import coco_images
from bua.io.files import read_json, read_text
from bua.io.folder import list_folder
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


def find_photos(source: Path | str, root: Path | str | None = None) -> list[PhotoFile]:
    """List the image files that ``source`` stands for, in a fixed order.

    Files of a folder that are not images, or hidden, are counted on stderr.

    Args:
        source: An image, a folder (searched with its subfolders), a text file with one path per line,
            optionally followed by the id of the image, or a COCO JSON whose ``images`` have ``id`` and
            ``file_name``.
        root: Folder that file names in a list or a JSON are relative to. Default: the folder of the list,
            or ``images`` beside it.

    Returns:
        The files with image ids: those of the JSON or of the list; otherwise the numbers in the file names if
        all of them follow COCO's pattern; otherwise the paths relative to the folder.

    Raises:
        InputError: If the source does not exist or has no images, or an id is duplicated.
    """
    source = Path(source)
    if source.is_dir():
        photos = _from_folder(source)
    elif not source.is_file():
        raise InputError(f"{source}: file or folder does not exist")
    elif source.suffix.lower() == ".json":
        photos = _from_json(source, root)
    elif source.suffix.lower() in (".txt", ".lst"):
        photos = _from_list(source, root)
    else:
        photos = _with_ids([(source.name, source)], source)
    paths_by_id: dict[ImageId, Path] = {}
    for photo in photos:
        if photo.image_id in paths_by_id:
            first = paths_by_id[photo.image_id]
            raise InputError(f"{source}: image {photo.image_id!r} is duplicated: {first} and {photo.path}")
        paths_by_id[photo.image_id] = photo.path
    return photos


def _from_folder(source: Path) -> list[PhotoFile]:
    found = list_folder(source)
    suffixes = SUFFIXES + UNSUPPORTED_SUFFIXES
    paths = [path for path in found.files if path.suffix.lower() in suffixes]
    counts = {"hidden": found.num_hidden, "not images": len(found.files) - len(paths)}
    skipped = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    if not paths:
        raise InputError(f"{source}: folder has no images ({', '.join(SUFFIXES)})")
    if skipped:
        print(f"{source}: {len(paths)} images; skipped: {skipped}", file=sys.stderr)
    return _with_ids([(path.relative_to(source).as_posix(), path) for path in paths], source)


def _with_ids(files: list[tuple[str, Path]], source: Path) -> list[PhotoFile]:
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
