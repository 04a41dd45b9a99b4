"""Lists of image ids."""

from pathlib import Path

from bua.errors import InputError
from bua.io.text_file import read_text
from bua.store.reader import ImageId


def read_ids(path: Path | str) -> list[ImageId]:
    """Read image ids, one a line; they are numbers if all of them look like numbers.

    Raises:
        InputError: there is no such file, it is empty, or an id comes twice.
    """
    words = [word for line in read_text(path).splitlines() if (word := line.strip())]
    if not words:
        raise InputError(f"{path}: there are no image ids in it")
    ids: list[ImageId] = [int(w) for w in words] if all(w.isdecimal() for w in words) else list(words)
    seen: set[ImageId] = set()
    for image_id in ids:
        if image_id in seen:
            raise InputError(f"{path}: image {image_id} is listed twice")
        seen.add(image_id)
    return ids
