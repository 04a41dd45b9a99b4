"""Lists of image ids."""

from pathlib import Path

from bua.errors import InputError
from bua.store.reader import ImageId


def read_ids(path: Path | str) -> list[ImageId]:
    """Read image ids, one a line; they are numbers if all of them look like numbers.

    Raises:
        InputError: there is no such file, it is empty, or an id comes twice.
    """
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines()]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a list of ids in UTF-8 ({error})") from None
    words = [line for line in lines if line]
    if not words:
        raise InputError(f"{path}: there are no image ids in it")
    ids: list[ImageId] = [int(w) for w in words] if all(w.isdecimal() for w in words) else list(words)
    seen: set[ImageId] = set()
    for image_id in ids:
        if image_id in seen:
            raise InputError(f"{path}: image {image_id} is listed twice")
        seen.add(image_id)
    return ids
