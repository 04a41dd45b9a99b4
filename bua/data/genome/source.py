"""Reading the official files of Visual Genome, version 1.2 and later.

image_data.json     a list of ``image_id``, ``width``, ``height``, ``url``, ``coco_id``, ``flickr_id``
scene_graphs.json   a list of ``image_id`` and ``objects`` (and relationships, which are not used),
objects.json        or the same without relationships; an object has ``object_id``, ``x``, ``y``,
                    ``w``, ``h`` in pixels, ``names`` and ``synsets``
attributes.json     a list of ``image_id`` and ``attributes``: objects again, with ``attributes``, a
                    list of texts, where they have any
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bua.errors import InputError
from bua.io.json_stream import elements

#: No coordinate in pixels is as large; nor is one that is not a number.
_FAR = 2**31


class Picture(NamedTuple):
    """What is known of an image; the sides are in pixels."""

    image_id: int
    file_name: str  # the last two parts of its address: VG_100K/1.jpg
    width: int
    height: int
    coco_id: int | None


class GenomeObject(NamedTuple):
    """An object as it was typed: its first name and its box in pixels, x and y of a corner first."""

    object_id: int
    name: str
    box: tuple[float, float, float, float]


def read_pictures(path: Path) -> dict[int, Picture]:
    """Read image_data.json.

    Raises:
        InputError: the file is broken, an image comes twice, or there are none.
    """
    pictures: dict[int, Picture] = {}
    for image_id, record in _records(path):
        if image_id in pictures:
            raise InputError(f"{path}: image {image_id} comes twice")
        metadata = f"{path}: image {image_id}"
        for side in ("width", "height"):
            if not _is_int(record.get(side)) or record[side] < 1:
                raise InputError(f"{metadata}: {side} is {record.get(side)!r:.80}, pixels are needed")
        url, coco_id = record.get("url"), record.get("coco_id")
        name = "/".join(str(url).split("/")[-2:])
        if not isinstance(url, str) or not name or name.endswith("/"):
            raise InputError(f"{metadata}: url is {url!r:.80}, an address that ends in a file name is needed")
        if coco_id is not None and not _is_int(coco_id):
            raise InputError(f"{metadata}: coco_id is {coco_id!r:.80}, a whole number or null is needed")
        pictures[image_id] = Picture(image_id, name, record["width"], record["height"], coco_id)
    if not pictures:
        raise InputError(f"{path}: there are no images in it")
    return pictures


def objects_file(source: Path) -> Path:
    """Return scene_graphs.json of a folder, or objects.json where that is not there.

    Raises:
        InputError: neither is there.
    """
    for name in ("scene_graphs.json", "objects.json"):
        if (source / name).is_file():
            return source / name
    packed = next((n for n in ("scene_graphs.json.zip", "objects.json.zip") if (source / n).exists()), None)
    hint = f"; unpack {packed}" if packed else ""
    raise InputError(f"{source}: there is neither scene_graphs.json nor objects.json in it{hint}")


def read_objects(path: Path, pictures: dict[int, Picture]) -> Iterator[tuple[int, list[GenomeObject]]]:
    """Give the objects of every image of scene_graphs.json or objects.json.

    Raises:
        InputError: the file is broken, an image comes twice or is not one of ``pictures``, or an
            object has no name or no box; image and object are named.
    """
    seen: set[int] = set()
    for image_id, record in _records(path):
        if image_id in seen:
            raise InputError(f"{path}: image {image_id} comes twice")
        if image_id not in pictures:
            raise InputError(f"{path}: image {image_id} is not in image_data.json")
        seen.add(image_id)
        yield image_id, [_object(o, f"{path}: image {image_id}") for o in _listed(record, "objects", path)]


def read_attributes(path: Path) -> Iterator[tuple[int, int, list[Any]]]:
    """Give image, object and attributes of every object of attributes.json that has any.

    Raises:
        InputError: the file is broken; image and object are named.
    """
    for image_id, record in _records(path):
        for entry in _listed(record, "attributes", path):
            metadata = f"{path}: image {image_id}"
            object_id = _object_id(entry, metadata)
            said = entry.get("attributes")
            if said is None:
                continue
            if not isinstance(said, list):
                raise InputError(
                    f"{metadata}, object {object_id}: attributes is {said!r:.80}, a list is needed"
                )
            yield image_id, object_id, said


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give the entries of a file and the images that they are about."""
    for position, record in enumerate(elements(path)):
        if not isinstance(record, dict) or not _is_int(record.get("image_id")):
            old = isinstance(record, dict) and "id" in record
            hint = "; files of version 1.2 or later have it" if old else ""
            raise InputError(
                f"{path}: entry {position} is {record!r:.60}: an object with a whole number image_id "
                f"is needed{hint}"
            )
        yield record["image_id"], record


def _listed(record: dict[str, Any], key: str, path: Path) -> list[Any]:
    """Return a list of an entry."""
    found = record.get(key)
    if not isinstance(found, list):
        raise InputError(f"{path}: image {record['image_id']}: {key} is {found!r:.80}, a list is needed")
    return found


def _object(record: Any, metadata: str) -> GenomeObject:
    object_id = _object_id(record, metadata)
    metadata = f"{metadata}, object {object_id}"
    names = record.get("names")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise InputError(f"{metadata}: names is {names!r:.80}, a list of at least one text is needed")
    box = tuple(record.get(key) for key in "xywh")
    if not all(_is_number(value) for value in box):
        raise InputError(f"{metadata}: x, y, w, h are {list(box)!r:.80}, numbers are needed")
    return GenomeObject(object_id, names[0], box)


def _object_id(record: Any, metadata: str) -> int:
    if not isinstance(record, dict) or not _is_int(record.get("object_id")):
        raise InputError(
            f"{metadata}: {record!r:.60} is not an object with a whole number object_id; "
            "files of version 1.2 or later have it"
        )
    found: int = record["object_id"]
    return found


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _FAR
