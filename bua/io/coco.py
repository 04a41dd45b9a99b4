"""The parts that all JSON files in COCO's style share: images, categories, and references to images by id.

Tools that export such files differ: some write the id 1 as "1" in annotations (VIA), repeat a category for
every image, leave out ``file_name`` or sizes, or write them as null. What cannot be misunderstood is read.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict
from urllib.parse import unquote, urlsplit

from bua.errors import InputError
from bua.io.schema import Id, Pixels, Report, records, valid_records

#: Fields from which the name of an image file is taken, if ``file_name`` is missing.
_URLS = ("coco_url", "flickr_url", "url")


class CocoImage(TypedDict):
    """An image; its file name is the last part of an URL where it is missing."""

    id: Id
    file_name: NotRequired[str | None]
    coco_url: NotRequired[str | None]
    width: NotRequired[Pixels | None]
    height: NotRequired[Pixels | None]
    domain: NotRequired[str | None]


class SizedImage(TypedDict):
    """An image whose size is known."""

    id: Id
    file_name: NotRequired[str | None]
    width: Pixels
    height: Pixels


class CocoCategory(TypedDict):
    """A class or an attribute."""

    id: Id
    name: str


def coco_images(
    content: Any,
    path: Path | str,
    report: Report | None = None,
    schema: Any = CocoImage,
    *,
    named: bool = False,
) -> list[dict[str, Any]]:
    """Return the images of a file, each with a ``file_name``, which is empty if the file has none.

    Args:
        content: Parsed JSON object.
        path: File that it came from.
        report: Called with every mistake, without the path. Default: the first is raised.
        schema: Type of the images.
        named: Whether every image must have a file name. Default: no.

    Raises:
        InputError: If the file has no list of images; an image has no name but must; or, without
            ``report``, an image is invalid.
    """
    if report is None:
        found = records(content, path, "images", schema)
    else:
        found = valid_records(content["images"], "images", schema, report)
    images = [image if image.get("file_name") else {**image, "file_name": _name(image)} for image in found]
    if named and (nameless := next((image for image in images if not image["file_name"]), None)):
        raise InputError(f"{path}: image {nameless['id']!r} has no file_name")
    return images


def _name(image: Mapping[str, Any]) -> str:
    """Return the name of an image file from one of its URLs, or an empty string."""
    urls = (image.get(key) for key in _URLS)
    return next((Path(unquote(urlsplit(u).path)).name for u in urls if isinstance(u, str) and u), "")


def coco_categories(content: Any, path: Path | str, key: str = "categories") -> dict[int | str, str]:
    """Return names by id; a category that is repeated as it is counts once.

    Raises:
        InputError: If the list is missing, an entry is invalid, or an id has two names.
    """
    names: dict[int | str, str] = {}
    for category in records(content, path, key, CocoCategory):
        number, name = category["id"], category["name"]
        if names.setdefault(number, name) != name:
            raise InputError(f"{path}: {key}: id {number!r} has two names, {names[number]!r} and {name!r}")
    return names


def resolver(known: Iterable[int | str]) -> Callable[[int | str], int | str]:
    """Return a function from an id as annotations write it to that of the image or category it names.

    An id that is unknown is returned as it is.

    Args:
        known: Ids as the list of images or categories writes them.
    """
    ids = {str(one): one for one in known}
    exact = set(ids.values())
    return lambda given: given if given in exact else ids.get(str(given), given)
