"""From the objects of one image to COCO annotations, with an account of everything that is left out."""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from bua.data.genome.clean import clipped, split_attribute, split_name
from bua.data.genome.names import Names
from bua.data.genome.source import GenomeObject, Picture, read_attributes

#: What is counted. Every object is written or in one of the three counts that follow; every
#: attribute, from attributes.json or from in front of a name, is written or in one of the five.
COUNTS = (
    "objects",
    "objects_of_images_without_photograph",
    "objects_out_of_vocabulary",
    "objects_without_a_box_in_the_image",
    "boxes_written",
    "boxes_clipped",
    "boxes_without_attributes",
    "attributes",
    "attributes_from_names",
    "attributes_of_unknown_objects",
    "attributes_of_objects_left_out",
    "attributes_out_of_vocabulary",
    "attributes_said_twice",
    "attributes_beyond_the_most",
    "attributes_written",
    "attributes_that_are_no_text",
    "attributes_split_at_and",
    "names_with_attributes_in_front",
)

#: Of every image, the cleaned attributes of its objects by their ids.
Said = dict[int, dict[int, tuple[str, ...]]]


def gather_attributes(path: Path, counts: Counter[str], *, every: bool) -> tuple[Said, Counter[str]]:
    """Read attributes.json whole; it is merged into the objects as they are read.

    Args:
        path: attributes.json.
        counts: grows.
        every: count all attributes of an object for a vocabulary, and not only the first one said.

    Returns:
        The attributes, and how often each of them counts.
    """
    split = cache(split_attribute)
    said: Said = {}
    frequent: Counter[str] = Counter()
    for image_id, object_id, texts in read_attributes(path):
        cleaned: list[str] = []
        for position, text in enumerate(texts):
            parts = [part for part in split(text) if part] if isinstance(text, str) else []
            counts["attributes_that_are_no_text"] += not parts
            counts["attributes_split_at_and"] += len(parts) > 1
            cleaned += parts
            if every or position == 0:
                frequent.update(parts)
        counts["attributes"] += len(cleaned)
        objects = said.setdefault(image_id, {})
        objects[object_id] = objects.get(object_id, ()) + tuple(cleaned)
    return said, frequent


def count_names(images: Iterable[tuple[int, list[GenomeObject]]]) -> tuple[Counter[str], Counter[str]]:
    """Count the names of objects, and the attributes in front of them."""
    split = cache(split_name)
    names: Counter[str] = Counter()
    before: Counter[str] = Counter()
    for _, objects in images:
        for thing in objects:
            name, attributes = split(thing.name)
            names[name] += 1
            before.update(attributes)
    return names, before


class Converter:
    """Makes annotations; ids of annotations count from 1 over everything that one converter makes.

    Args:
        classes: of objects; others are left out.
        attributes: others are left out.
        said: the attributes by image and object; what was used is taken out.
        most: attributes that one object may have at most.
        counts: grows; see ``COUNTS``.
    """

    def __init__(
        self, *, classes: Names, attributes: Names, said: Said, most: int, counts: Counter[str]
    ) -> None:
        self.classes, self.attributes, self.said, self.most = classes, attributes, said, most
        self.counts = counts
        self.count = 0
        self._split = cache(split_name)

    def annotations(self, picture: Picture, objects: list[GenomeObject]) -> list[dict[str, Any]]:
        """Return the annotations of an image; a box is x, y, width, height in pixels."""
        said = self.said.pop(picture.image_id, {})
        self._account(said, objects)
        made = (self._annotation(picture, thing, said) for thing in objects)
        return [annotation for annotation in made if annotation is not None]

    def skip_image(self, image_id: int, objects: list[GenomeObject]) -> None:
        """Count what is left out with an image that has no photograph."""
        said = self.said.pop(image_id, {})
        self._account(said, objects)
        for thing in objects:
            self._left_out("objects_of_images_without_photograph", len(self._listed(thing, said)))

    def skip_rest(self) -> None:
        """Count the attributes of images that had no objects at all."""
        while self.said:
            self._account(self.said.popitem()[1], [])

    def _account(self, said: Mapping[int, tuple[str, ...]], objects: list[GenomeObject]) -> None:
        """Count the attributes of objects that an image does not have, or has twice."""
        known = {thing.object_id for thing in objects}
        unknown = sum(len(attributes) for n, attributes in said.items() if n not in known)
        given = sum(len(said.get(thing.object_id, ())) for thing in objects)
        self.counts["attributes_of_unknown_objects"] += unknown
        self.counts["attributes"] += unknown + given - sum(map(len, said.values()))

    def _left_out(self, why: str, attributes: int) -> None:
        self.counts[why] += 1
        self.counts["attributes_of_objects_left_out"] += attributes

    def _listed(self, thing: GenomeObject, said: Mapping[int, tuple[str, ...]]) -> tuple[str, ...]:
        """Count an object, and return its attributes: those in front of its name first."""
        before = self._split(thing.name)[1]
        self.counts["objects"] += 1
        self.counts["names_with_attributes_in_front"] += bool(before)
        self.counts["attributes_from_names"] += len(before)
        return before + said.get(thing.object_id, ())

    def _annotation(
        self, picture: Picture, thing: GenomeObject, said: Mapping[int, tuple[str, ...]]
    ) -> dict[str, Any] | None:
        listed = self._listed(thing, said)
        category = self.classes.id(self._split(thing.name)[0])
        if category is None:
            self._left_out("objects_out_of_vocabulary", len(listed))
            return None
        box = clipped(*thing.box, width=picture.width, height=picture.height)
        if not (box[2] > 0 and box[3] > 0):
            self._left_out("objects_without_a_box_in_the_image", len(listed))
            return None
        ids = self._attribute_ids(listed)
        self.counts["boxes_written"] += 1
        self.counts["boxes_clipped"] += box != thing.box
        self.counts["boxes_without_attributes"] += not ids
        self.count += 1
        return {
            "id": self.count,
            "image_id": picture.image_id,
            "category_id": category,
            "attribute_ids": ids,
            "bbox": list(box),
            "area": box[2] * box[3],
            "iscrowd": 0,
            "object_id": thing.object_id,
        }

    def _attribute_ids(self, listed: tuple[str, ...]) -> list[int]:
        """Return the ids of attributes, each once, in the order in which they were said."""
        known = [n for name in listed if (n := self.attributes.id(name)) is not None]
        ids = list(dict.fromkeys(known))
        self.counts["attributes_out_of_vocabulary"] += len(listed) - len(known)
        self.counts["attributes_said_twice"] += len(known) - len(ids)
        self.counts["attributes_beyond_the_most"] += len(ids[self.most :])
        self.counts["attributes_written"] += len(ids[: self.most])
        return ids[: self.most]
