"""Read the official files of Visual Genome, version 1.2 and later.

===================  ====================================================================================
image_data.json      list of ``image_id``, ``width``, ``height``, ``url``, ``coco_id``, ``flickr_id``
scene_graphs.json    list of ``image_id`` and ``objects`` (relationships are ignored); an object has
                     ``object_id``, ``x``, ``y``, ``w``, ``h`` in pixels, ``names`` and ``synsets``
objects.json         the same without relationships
attributes.json      list of ``image_id`` and ``attributes``: the objects again, with their attributes,
                     if any, as a list of strings ``attributes``
===================  ====================================================================================
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bua.errors import InputError
from bua.io.json_stream import elements
from bua.io.orientation import ImageHeader

#: Bound of valid coordinates in pixels; also excludes infinity and NaN.
_MAX_COORDINATE = 2**31


class GenomeImage(NamedTuple):
    """Metadata of an image.

    Attributes:
        image_id: Id in Visual Genome.
        file_name: Last two parts of its URL, such as ``VG_100K/1.jpg``.
        width: Width in pixels.
        height: Height in pixels.
        coco_id: Id in COCO, or ``None`` if the image is not from COCO.
        turned_by: Header of the image file if EXIF turns it and the boxes are those of the unturned image.
    """

    image_id: int
    file_name: str
    width: int
    height: int
    coco_id: int | None
    turned_by: ImageHeader | None = None


class GenomeObject(NamedTuple):
    """An annotated object.

    Attributes:
        object_id: Id in Visual Genome.
        name: First name, as typed by the annotator.
        box: Box as x, y, width, height in pixels.
    """

    object_id: int
    name: str
    box: tuple[float, float, float, float]


def read_images(path: Path) -> dict[int, GenomeImage]:
    """Read image_data.json.

    Returns:
        Images by id.

    Raises:
        InputError: If the file is invalid, an image is duplicated, or there are no images.
    """
    images: dict[int, GenomeImage] = {}
    for image_id, record in _records(path):
        if image_id in images:
            raise InputError(f"{path}: image {image_id} is duplicated")
        place = f"{path}: image {image_id}"
        for side in ("width", "height"):
            if not _is_int(record.get(side)) or record[side] < 1:
                raise InputError(f"{place}: {side} is {record.get(side)!r:.80}, expected a number of pixels")
        url, coco_id = record.get("url"), record.get("coco_id")
        name = "/".join(str(url).split("/")[-2:])
        if not isinstance(url, str) or not name or name.endswith("/"):
            raise InputError(f"{place}: url is {url!r:.80}, expected a URL that ends in a file name")
        if coco_id is not None and not _is_int(coco_id):
            raise InputError(f"{place}: coco_id is {coco_id!r:.80}, expected an integer or null")
        images[image_id] = GenomeImage(image_id, name, record["width"], record["height"], coco_id)
    if not images:
        raise InputError(f"{path}: contains no images")
    return images


def find_objects_file(source: Path) -> Path:
    """Return the path of scene_graphs.json in a folder, or of objects.json if that does not exist.

    Raises:
        InputError: If neither exists.
    """
    for name in ("scene_graphs.json", "objects.json"):
        if (source / name).is_file():
            return source / name
    archive = next((n for n in ("scene_graphs.json.zip", "objects.json.zip") if (source / n).exists()), None)
    hint = f"; unpack {archive}" if archive else ""
    raise InputError(f"{source}: contains neither scene_graphs.json nor objects.json{hint}")


def read_objects(path: Path, images: dict[int, GenomeImage]) -> Iterator[tuple[int, list[GenomeObject]]]:
    """Yield the id and the objects of every image of scene_graphs.json or objects.json.

    Raises:
        InputError: If the file is invalid, an image is duplicated or not in ``images``, or an object has
            no name or no box; the image and the object are named.
    """
    seen: set[int] = set()
    for image_id, record in _records(path):
        if image_id in seen:
            raise InputError(f"{path}: image {image_id} is duplicated")
        if image_id not in images:
            raise InputError(f"{path}: image {image_id} is not in image_data.json")
        seen.add(image_id)
        yield image_id, [_object(o, f"{path}: image {image_id}") for o in _list(record, "objects", path)]


def read_attributes(path: Path) -> Iterator[tuple[int, int, list[Any]]]:
    """Yield the image id, object id and attributes of every object of attributes.json that has any.

    Raises:
        InputError: If the file is invalid; the image and the object are named.
    """
    for image_id, record in _records(path):
        for entry in _list(record, "attributes", path):
            place = f"{path}: image {image_id}"
            object_id = _object_id(entry, place)
            attributes = entry.get("attributes")
            if attributes is None:
                continue
            if not isinstance(attributes, list):
                raise InputError(
                    f"{place}, object {object_id}: attributes is {attributes!r:.80}, expected a list"
                )
            yield image_id, object_id, attributes


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the image id and the record of every entry of a file."""
    for position, record in enumerate(elements(path)):
        if not isinstance(record, dict) or not _is_int(record.get("image_id")):
            is_old = isinstance(record, dict) and "id" in record
            hint = ", as in version 1.2 and later" if is_old else ""
            raise InputError(
                f"{path}: entry {position} is {record!r:.60}, "
                f"expected an object with an integer image_id{hint}"
            )
        yield record["image_id"], record


def _list(record: dict[str, Any], key: str, path: Path) -> list[Any]:
    value = record.get(key)
    if not isinstance(value, list):
        raise InputError(f"{path}: image {record['image_id']}: {key} is {value!r:.80}, expected a list")
    return value


def _object(record: Any, place: str) -> GenomeObject:
    object_id = _object_id(record, place)
    place = f"{place}, object {object_id}"
    names = record.get("names")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise InputError(f"{place}: names is {names!r:.80}, expected a list of at least one string")
    box = tuple(record.get(key) for key in "xywh")
    if not all(_is_number(value) for value in box):
        raise InputError(f"{place}: x, y, w, h are {list(box)!r:.80}, expected numbers")
    return GenomeObject(object_id, names[0], box)


def _object_id(record: Any, place: str) -> int:
    if not isinstance(record, dict) or not _is_int(record.get("object_id")):
        raise InputError(
            f"{place}: {record!r:.60} is not an object with an integer object_id, as in version 1.2 and later"
        )
    object_id: int = record["object_id"]
    return object_id


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MAX_COORDINATE
