"""Height and width of images where a feature file does not tell them."""

import json
from pathlib import Path

from PIL import Image

from bua.errors import InputError
from bua.io.json_file import read_json, records
from bua.store.formats.image_ids import number
from bua.store.reader import ImageId

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
#: EXIF orientations that exchange height and width.
_TURNED = (5, 6, 7, 8)


class ImageSizes:
    """Looks up (height, width) by image id.

    Args:
        path: a COCO JSON whose ``images`` have ``id``, ``width`` and ``height``; a folder of
            photographs, of which only the heads are read; or a ``.hw.tsv`` of VinVL.

    Raises:
        InputError: there is no such file, or it says nothing of sizes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sizes: dict[ImageId, tuple[int, int]] = {}
        self._photos: dict[ImageId, Path] = {}
        if path.is_dir():
            for photo in sorted(path.rglob("*")):
                if photo.suffix.lower() in _SUFFIXES:
                    name = photo.relative_to(path).as_posix()
                    for key in _keys(name):
                        self._photos.setdefault(key, photo)
        elif path.suffix.lower() == ".tsv":
            self._read_tsv()
        else:
            wanted: dict[str, type | tuple[type, ...]] = {"id": (int, str), "width": int, "height": int}
            for image in records(read_json(path), path, "images", wanted):
                size = (image["height"], image["width"])
                self._sizes[image["id"]] = size
                for key in _keys(image["file_name"]) if isinstance(image.get("file_name"), str) else ():
                    self._sizes.setdefault(key, size)
        if not self._photos and not self._sizes:
            raise InputError(f"{path}: there are no images in it")

    def find(self, image: ImageId) -> tuple[int, int] | None:
        """Return height and width after EXIF rotation; ``None`` for an image that is not there.

        Raises:
            InputError: its photograph cannot be read.
        """
        keys = [image, *(_keys(image) if isinstance(image, str) else [])]
        for key in keys:
            if key in self._sizes:
                return self._sizes[key]
            if key in self._photos:
                return _head(self._photos[key])
        return None

    def _read_tsv(self) -> None:
        """Read lines of a key and ``[{"height": h, "width": w}]``."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
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
                    f'{self.path}: line {n} is not a key and [{{"height": h, "width": w}}]'
                ) from None
            for key in _keys(name):
                self._sizes.setdefault(key, size)


def _keys(name: str) -> list[ImageId]:
    """Return the ids under which an image of this name may be asked for."""
    stem = name.rpartition(".")[0] or name
    base = stem.rpartition("/")[2]
    found = [name, stem, base, number(base)]
    return list(dict.fromkeys(key for key in found if key is not None))


def _head(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112) in _TURNED
    except Exception as error:  # Pillow lets many kinds out of damaged files
        raise InputError(f"{path}: not a readable image ({error})") from None
    return (width, height) if turned else (height, width)
