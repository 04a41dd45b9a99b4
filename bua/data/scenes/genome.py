"""The synthetic data set as the official files of Visual Genome: one folder for all splits."""

from collections.abc import Sequence
from typing import Any

from bua.data.scenes.world import CANVAS, SceneObject


def thing_record(object_id: int, thing: SceneObject) -> dict[str, Any]:
    """Return a thing as ``attributes.json`` has it."""
    x1, y1, x2, y2 = map(int, thing.box)
    return {
        "object_id": object_id,
        "names": [thing.kind],
        "attributes": list(thing.attributes),
        "x": x1,
        "y": y1,
        "w": x2 - x1,
        "h": y2 - y1,
        "synsets": [],
    }


def attributes_entry(image_id: int, things: Sequence[SceneObject]) -> dict[str, Any]:
    """Return the entry of a picture in ``attributes.json``."""
    return {
        "image_id": image_id,
        "attributes": [thing_record(image_id * 10 + n, thing) for n, thing in enumerate(things)],
    }


def genome_files(attributes: Sequence[dict[str, Any]], folder: str) -> dict[str, list[dict[str, Any]]]:
    """Return the content of the official files by name.

    Pictures are COCO's of this world, so that a picture's COCO id is its id in the captions.

    Args:
        attributes: the entries of ``attributes.json``.
        folder: of the pictures.
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
    """Return the scene graph of a picture: the same objects without attributes."""
    return {
        "image_id": entry["image_id"],
        "objects": [{k: v for k, v in o.items() if k != "attributes"} for o in entry["attributes"]],
        "relationships": [],
    }
