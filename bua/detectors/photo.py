"""Finding image files and their ids, and decoding an image to RGB pixels or to one line that says why not.

Pillow decodes; torchvision's decoders crash the process on some damaged files.
"""

import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from bua.errors import InputError
from bua.io.files import read_json, records
from bua.structures.annotations import ImageId

T = TypeVar("T")

#: A decoded image: shape (H, W, 3), RGB from 0 to 255.
Photo = NDArray[np.uint8]

#: Formats that are decoded, by Pillow's names, and the suffixes of their files.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
#: Suffixes of image files that cannot be decoded. In a folder they are reported instead of skipped.
UNSUPPORTED_SUFFIXES = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".dng", ".cr2", ".nef")
MAX_PIXELS = 100_000_000
MAX_ASPECT_RATIO = 200
MAX_BYTES = 512 * 2**20

#: 000000000139.jpg (2017) and COCO_val2014_000000000139.jpg (2014).
_COCO_NAME = re.compile(r"(?:COCO_[a-z]+\d{4}_)?(\d{12})\.\w+")


def read_photo(source: Path | str | BinaryIO, name: str | None = None) -> Photo:
    """Decode an image.

    Of an animation the first frame is taken, transparent images are laid over white, EXIF rotation is
    applied, and 16-bit and floating-point grays are scaled to 8 bits instead of clipped.

    Args:
        source: Path of a file, or an open binary file.
        name: Name of the image in error messages. Default: the path.

    Returns:
        The pixels, shape (H, W, 3), RGB.

    Raises:
        InputError: If the file is missing, empty, damaged, not an image, or too large; it is named.
    """
    name = name or str(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            _check_file(source, name)
            with Image.open(source, formats=FORMATS) as image:
                _check_dimensions(image.size, name)
                return np.array(_to_rgb(ImageOps.exif_transpose(image)))
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{name}: file does not exist") from None
    except UnidentifiedImageError:
        raise InputError(f"{name}: not an image in one of the formats {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise InputError(f"{name}: more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # damaged metadata makes Pillow raise errors of many types
        raise InputError(f"{name}: damaged image ({error or type(error).__name__})") from None


def _check_file(source: Path | str | BinaryIO, name: str) -> None:
    if not isinstance(source, (str, Path)):
        return
    if Path(source).is_dir():
        raise InputError(f"{name}: is a folder, expected an image file")
    size = Path(source).stat().st_size
    if size == 0:
        raise InputError(f"{name}: file is empty")
    if size > MAX_BYTES:
        raise InputError(f"{name}: file has {size:,} bytes, must have at most {MAX_BYTES:,}")


def _check_dimensions(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise InputError(f"{name}: image is {width} x {height}, must have at least one pixel")
    if width * height > MAX_PIXELS:
        raise InputError(f"{name}: image is {width} x {height}, must have at most {MAX_PIXELS:,} pixels")
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise InputError(
            f"{name}: image is {width} x {height}, narrower than 1 to {MAX_ASPECT_RATIO}; crop it first"
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_8_bits(np.asarray(image, np.float64), image.mode)).convert("RGB")
    if image.mode in ("LA", "RGBA", "PA", "La", "RGBa") or "transparency" in image.info:
        overlay = image.convert("RGBA")
        white = Image.new("RGBA", overlay.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, overlay).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(gray: NDArray[np.float64], mode: str) -> NDArray[np.uint8]:
    """Scale 16-bit grays from 65535 to 255, and others from the range that their values suggest."""
    highest = 65535.0 if mode.startswith("I;16") else float(np.nanmax(gray, initial=0.0))
    scale = 255.0 if highest <= 1 else 1.0 if highest <= 255 else 255.0 / 65535
    return np.nan_to_num(gray * scale).clip(0, 255).astype(np.uint8)


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

    Args:
        source: An image, a folder (searched with its subfolders), a text file with one path per line, or a
            COCO JSON whose ``images`` have ``id`` and ``file_name``.
        root: Folder that file names in a list or a JSON are relative to. Default: the folder of the list,
            or ``images`` beside it.

    Returns:
        The files with image ids: those of the JSON; otherwise the numbers in the file names if all of them
        follow COCO's pattern; otherwise the paths relative to the folder.

    Raises:
        InputError: If the source does not exist or has no images, or an id is duplicated.
    """
    source = Path(source)
    if source.is_dir():
        suffixes = SUFFIXES + UNSUPPORTED_SUFFIXES
        paths = sorted(p for p in source.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
        if not paths:
            raise InputError(f"{source}: folder has no images ({', '.join(SUFFIXES)})")
        photos = _with_ids([(path.relative_to(source).as_posix(), path) for path in paths])
    elif not source.is_file():
        raise InputError(f"{source}: file or folder does not exist")
    elif source.suffix.lower() == ".json":
        photos = _from_json(source, root)
    elif source.suffix.lower() in (".txt", ".lst"):
        photos = _from_list(source, root)
    else:
        photos = _with_ids([(source.name, source)])
    paths_by_id: dict[ImageId, Path] = {}
    for photo in photos:
        if photo.image_id in paths_by_id:
            first = paths_by_id[photo.image_id]
            raise InputError(f"{source}: image {photo.image_id!r} is duplicated: {first} and {photo.path}")
        paths_by_id[photo.image_id] = photo.path
    return photos


def _with_ids(files: list[tuple[str, Path]]) -> list[PhotoFile]:
    """Use COCO's numbers as ids if all files are named as in COCO, otherwise the names as they are."""
    numbers = [_COCO_NAME.fullmatch(path.name) for _, path in files]
    if all(numbers):
        return [PhotoFile(int(n[1]), path) for n, (_, path) in zip(numbers, files, strict=True) if n]
    return [PhotoFile(name, path) for name, path in files]


def _from_json(source: Path, root: Path | str | None) -> list[PhotoFile]:
    images = records(read_json(source), source, "images", {"id": (int, str), "file_name": str})
    if len({type(image["id"]) for image in images}) > 1:
        raise InputError(f"{source}: image ids must be all integers or all strings, found both")
    if not images:
        raise InputError(f'{source}: list "images" is empty')
    folder = _image_folder(source, root, images[0]["file_name"])
    return [PhotoFile(image["id"], folder / image["file_name"]) for image in images]


def _from_list(source: Path, root: Path | str | None) -> list[PhotoFile]:
    try:
        lines = [line.strip() for line in source.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: not a list of paths in UTF-8 ({error})") from None
    names = [line for line in lines if line]
    if not names:
        raise InputError(f"{source}: list has no paths")
    folder = _image_folder(source, root, names[0])
    return _with_ids([(name, folder / name) for name in names])


def _image_folder(source: Path, root: Path | str | None, first_name: str) -> Path:
    if root is not None:
        if not Path(root).is_dir():
            raise InputError(f"root={root}: folder does not exist")
        return Path(root)
    images = source.parent / "images"
    return source.parent if (source.parent / first_name).exists() or not images.is_dir() else images


def map_photos(
    function: Callable[[PhotoFile, Photo], T], files: Sequence[PhotoFile], command: str
) -> Iterator[tuple[PhotoFile, Photo, T]]:
    """Decode images one by one and apply a function; skip those that fail, with a line on stderr.

    Args:
        function: Function from an image file and its pixels.
        files: Image files.
        command: Name of the command, which starts the line on stderr.

    Yields:
        Image file, its pixels and the result of the function.

    Raises:
        InputError: If the only image, or every image, fails.
    """
    num_results = 0
    for file in files:
        try:
            photo = read_photo(file.path)
            result = function(file, photo)
        except InputError as error:
            if len(files) == 1:
                raise
            print(f"{command}: {error}", file=sys.stderr)
            continue
        num_results += 1
        yield file, photo, result
    if not num_results:
        raise InputError(f"{files[0].path}: cannot be read, nor can any other of the {len(files)} images")
