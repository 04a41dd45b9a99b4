"""Which photographs are meant, and what their ids are."""

import re
from dataclasses import dataclass
from pathlib import Path

from bua.detectors.photo import SUFFIXES, UNREAD
from bua.errors import InputError
from bua.io.json_file import read_json, records
from bua.store.reader import ImageId

#: 000000000139.jpg (2017) and COCO_val2014_000000000139.jpg (2014).
_COCO_NAME = re.compile(r"(?:COCO_[a-z]+\d{4}_)?(\d{12})\.\w+")


@dataclass(frozen=True)
class PhotoFile:
    """A photograph on disk and its id."""

    image_id: ImageId
    path: Path


def find_photos(source: Path | str, root: Path | str | None = None) -> list[PhotoFile]:
    """List the photographs that ``source`` means, in a fixed order.

    Args:
        source: a photograph, a folder (searched with its sub-folders), a text file with a path a
            line, or a COCO JSON whose ``images`` have ``id`` and ``file_name``.
        root: folder of the file names in a list or a JSON; by default the folder of the file, or
            ``images`` beside it.

    Returns:
        Photographs with ids: those of the JSON; else the numbers in the file names if all of them
        are named as COCO names its own; else the paths below the folder.

    Raises:
        InputError: there is no such file, nothing in it, or an id comes twice.
    """
    source = Path(source)
    if source.is_dir():
        paths = sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES + UNREAD and p.is_file())
        if not paths:
            raise InputError(f"{source}: there are no photographs ({', '.join(SUFFIXES)}) in it")
        found = _by_name(paths, source)
    elif not source.is_file():
        raise InputError(f"{source}: there is no such file or folder")
    elif source.suffix.lower() == ".json":
        found = _from_json(source, root)
    elif source.suffix.lower() in (".txt", ".lst"):
        found = _from_list(source, root)
    else:
        found = _by_name([source], source.parent)
    seen: dict[ImageId, Path] = {}
    for photo in found:
        if photo.image_id in seen:
            raise InputError(
                f"{source}: image {photo.image_id!r} comes twice: {seen[photo.image_id]} and {photo.path}"
            )
        seen[photo.image_id] = photo.path
    return found


def _by_name(paths: list[Path], folder: Path) -> list[PhotoFile]:
    return _named([(path.relative_to(folder).as_posix(), path) for path in paths])


def _named(files: list[tuple[str, Path]]) -> list[PhotoFile]:
    """Give COCO's numbers as ids if every file is named so, else the names as they stand."""
    numbers = [_COCO_NAME.fullmatch(path.name) for _, path in files]
    if all(numbers):
        return [PhotoFile(int(n[1]), path) for n, (_, path) in zip(numbers, files, strict=True) if n]
    return [PhotoFile(name, path) for name, path in files]


def _from_json(source: Path, root: Path | str | None) -> list[PhotoFile]:
    images = records(read_json(source), source, "images", {"id": (int, str), "file_name": str})
    if len({type(image["id"]) for image in images}) > 1:
        raise InputError(f"{source}: some image ids are numbers and some are texts; one kind is needed")
    if not images:
        raise InputError(f"{source}: its list images is empty")
    folder = _folder(source, root, images[0]["file_name"])
    return [PhotoFile(image["id"], folder / image["file_name"]) for image in images]


def _from_list(source: Path, root: Path | str | None) -> list[PhotoFile]:
    try:
        lines = [line.strip() for line in source.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: not a list of paths in UTF-8 ({error})") from None
    names = [line for line in lines if line]
    if not names:
        raise InputError(f"{source}: there are no paths in it")
    folder = _folder(source, root, names[0])
    return _named([(name, folder / name) for name in names])


def _folder(source: Path, root: Path | str | None, first: str) -> Path:
    if root is not None:
        if not Path(root).is_dir():
            raise InputError(f"root={root}: there is no such folder")
        return Path(root)
    beside = source.parent / "images"
    return source.parent if (source.parent / first).exists() or not beside.is_dir() else beside
