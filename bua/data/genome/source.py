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
from typing import Annotated, Any, NamedTuple, NotRequired, TypedDict

from msgspec import Meta

from bua.errors import InputError
from bua.io.json_stream import elements
from bua.io.orientation import ImageHeader
from bua.io.schema import Coordinate, Integer, Pixels, find_mismatch


class _Entry(TypedDict):
    image_id: Integer


class _Image(_Entry):
    width: Pixels
    height: Pixels
    url: str
    coco_id: NotRequired[Integer | None]


class _Object(TypedDict):
    object_id: Integer
    names: Annotated[list[str], Meta(min_length=1)]
    x: Coordinate
    y: Coordinate
    w: Coordinate
    h: Coordinate


class _Objects(_Entry):
    objects: list[_Object]


class _ObjectAttributes(TypedDict):
    object_id: Integer
    attributes: NotRequired[list[Any] | None]


class _Attributes(_Entry):
    attributes: list[_ObjectAttributes]


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
    for image_id, record in _records(path, _Image):
        if image_id in images:
            raise InputError(f"{path}: image {image_id} is duplicated")
        name = "/".join(record["url"].split("/")[-2:])
        if not name or name.endswith("/"):
            raise InputError(
                f"{path}: image {image_id}: url is {record['url']!r:.80}, expected a file name at its end"
            )
        images[image_id] = GenomeImage(
            image_id, name, record["width"], record["height"], record.get("coco_id")
        )
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
            no name or no box; the image and the position of the object are named.
    """
    seen: set[int] = set()
    for image_id, record in _records(path, _Objects):
        if image_id in seen:
            raise InputError(f"{path}: image {image_id} is duplicated")
        if image_id not in images:
            raise InputError(f"{path}: image {image_id} is not in image_data.json")
        seen.add(image_id)
        yield (
            image_id,
            [
                GenomeObject(o["object_id"], o["names"][0], (o["x"], o["y"], o["w"], o["h"]))
                for o in record["objects"]
            ],
        )


def read_attributes(path: Path) -> Iterator[tuple[int, int, list[Any]]]:
    """Yield the image id, object id and attributes of every object of attributes.json that has any.

    Raises:
        InputError: If the file is invalid; the image and the position of the object are named.
    """
    for image_id, record in _records(path, _Attributes):
        for entry in record["attributes"]:
            if entry.get("attributes") is not None:
                yield image_id, entry["object_id"], entry["attributes"]


def _records(path: Path, schema: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the image id and the record of every entry of a file."""
    for position, record in enumerate(elements(path)):
        if mistake := find_mismatch(record, _Entry):
            is_old = isinstance(record, dict) and "id" in record
            hint = "; image_id is there since version 1.2" if is_old else ""
            raise InputError(f"{path}: entry {position} {mistake}{hint}")
        if mistake := find_mismatch(record, schema):
            raise InputError(f"{path}: image {record['image_id']}: {mistake}")
        yield record["image_id"], record
