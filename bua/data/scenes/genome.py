"""The synthetic data set in the format of the official Visual Genome files."""

from collections.abc import Sequence
from typing import Any

from bua.data.scenes.world import CANVAS, SceneObject


def object_record(object_id: int, scene_object: SceneObject) -> dict[str, Any]:
    """Return an object in the format of ``attributes.json``."""
    x1, y1, x2, y2 = map(int, scene_object.box)
    return {
        "object_id": object_id,
        "names": [scene_object.kind],
        "attributes": list(scene_object.attributes),
        "x": x1,
        "y": y1,
        "w": x2 - x1,
        "h": y2 - y1,
        "synsets": [],
    }


def attributes_entry(image_id: int, objects: Sequence[SceneObject]) -> dict[str, Any]:
    """Return the entry of an image in ``attributes.json``."""
    return {
        "image_id": image_id,
        "attributes": [object_record(image_id * 10 + n, o) for n, o in enumerate(objects)],
    }


def genome_files(attributes: Sequence[dict[str, Any]], folder: str) -> dict[str, list[dict[str, Any]]]:
    """Return the content of the official files by name.

    The COCO id of an image is its id in the caption files.

    Args:
        attributes: Entries of ``attributes.json``.
        folder: Name of the folder of the images.
    """
    return {
        "image_data": [_image(entry["image_id"], folder) for entry in attributes],
        "scene_graphs": [_graph(entry) for entry in attributes],
        "attributes": list(attributes),
    }


def _image(image_id: int, folder: str) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "url": f"{folder}/{image_id:012d}.jpg",
        "width": CANVAS,
        "height": CANVAS,
        "coco_id": image_id,
        "flickr_id": None,
    }


def _graph(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the scene graph of an image: the same objects without attributes."""
    return {
        "image_id": entry["image_id"],
        "objects": [{k: v for k, v in o.items() if k != "attributes"} for o in entry["attributes"]],
        "relationships": [],
    }
