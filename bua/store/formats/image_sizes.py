"""Height and width of images whose feature file does not contain them."""

import json
from pathlib import Path

from bua.errors import InputError
from bua.io.coco import SizedImage, coco_images
from bua.io.files import read_json
from bua.io.folder import list_folder
from bua.io.orientation import read_header
from bua.store.formats.image_ids import parse_number
from bua.store.formats.source import InvalidImageError
from bua.structures.annotations import ImageId

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


class ImageSizes:
    """Looks up height and width by image id.

    Args:
        path: A COCO JSON whose ``images`` have ``id``, ``width`` and ``height``; a folder of image files,
            of which only the headers are read; or a ``.hw.tsv`` of VinVL.

    Raises:
        InputError: If the file does not exist or contains no sizes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sizes: dict[ImageId, tuple[int, int]] = {}
        self._photos: dict[ImageId, Path] = {}
        if path.is_dir():
            for photo in list_folder(path).files:
                if photo.suffix.lower() in _SUFFIXES:
                    name = photo.relative_to(path).as_posix()
                    for key in _lookup_keys(name):
                        self._photos.setdefault(key, photo)
        elif path.suffix.lower() == ".tsv":
            self._read_tsv()
        else:
            for image in coco_images(read_json(path), path, schema=SizedImage):
                size = (image["height"], image["width"])
                for key in (image["id"], *(_lookup_keys(name) if (name := image["file_name"]) else ())):
                    self._sizes.setdefault(key, size)
        if not self._photos and not self._sizes:
            raise InputError(f"{path}: has no images")

    def find(self, image: ImageId) -> tuple[int, int] | None:
        """Return height and width of an image in pixels, after EXIF rotation.

        Returns:
            Height and width, or ``None`` if the image is unknown.

        Raises:
            InvalidImageError: If the image file cannot be read.
        """
        keys = [image, *(_lookup_keys(image) if isinstance(image, str) else [])]
        for key in keys:
            if key in self._sizes:
                return self._sizes[key]
            if key in self._photos:
                return _read_size(self._photos[key])
        return None

    def _read_tsv(self) -> None:
        """Read lines of a key and ``[{"height": h, "width": w}]``."""
        try:
            lines = self.path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self.path}: cannot be read ({error})") from None
        for n, line in enumerate(lines, 1):
            name, _, text = line.partition("\t")
            try:
                content = json.loads(text)
                first = content[0] if isinstance(content, list) else content
                size = (int(first["height"]), int(first["width"]))
            except (ValueError, KeyError, IndexError, TypeError):
                raise InputError(
                    f'{self.path}: line {n} must be a key and [{{"height": h, "width": w}}]'
                ) from None
            for key in _lookup_keys(name):
                self._sizes.setdefault(key, size)


def _lookup_keys(name: str) -> list[ImageId]:
    """Return the ids by which an image file of this name can be looked up."""
    stem = name.rpartition(".")[0] or name
    base = stem.rpartition("/")[2]
    keys = [name, stem, base, parse_number(base)]
    return list(dict.fromkeys(key for key in keys if key is not None))


def _read_size(path: Path) -> tuple[int, int]:
    try:
        width, height = read_header(path).turned_size
    except InputError as error:
        raise InvalidImageError(f"its image cannot be read: {error}") from None
    return height, width
