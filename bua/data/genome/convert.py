"""Convert the objects of an image to COCO annotations, counting everything that is skipped."""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bua.data.genome.clean import clip_box, split_attribute, split_name
from bua.data.genome.names import LabelVocabulary
from bua.data.genome.source import GenomeImage, GenomeObject, read_attributes
from bua.io.orientation import turn_boxes

#: Names of the counts. Every object is either written or in one of the three counts after "objects".
#: Every attribute, from attributes.json or leading a name, is either written or in one of the five
#: counts after "attributes_from_names".
COUNTS = (
    "objects",
    "objects_of_missing_images",
    "objects_out_of_vocabulary",
    "objects_outside_of_the_image",
    "boxes_written",
    "boxes_clipped",
    "boxes_turned_by_exif",
    "boxes_without_attributes",
    "attributes",
    "attributes_from_names",
    "attributes_of_unknown_objects",
    "attributes_of_skipped_objects",
    "attributes_out_of_vocabulary",
    "attributes_duplicated",
    "attributes_over_the_limit",
    "attributes_written",
    "attributes_not_text",
    "attributes_split_at_and",
    "names_with_leading_attributes",
)

#: Cleaned attributes of every object, by image id and object id.
Attributes = dict[int, dict[int, tuple[str, ...]]]


def gather_attributes(
    path: Path, counts: Counter[str], *, count_all: bool
) -> tuple[Attributes, Counter[str]]:
    """Read all of attributes.json.

    Args:
        path: attributes.json.
        counts: Counts to update.
        count_all: Whether the frequencies include all attributes of an object or only the first.

    Returns:
        Attributes of every object, and the frequency of every attribute.
    """
    split = cache(split_attribute)
    attributes: Attributes = {}
    frequencies: Counter[str] = Counter()
    for image_id, object_id, texts in read_attributes(path):
        cleaned: list[str] = []
        for position, text in enumerate(texts):
            parts = [part for part in split(text) if part] if isinstance(text, str) else []
            counts["attributes_not_text"] += not parts
            counts["attributes_split_at_and"] += len(parts) > 1
            cleaned += parts
            if count_all or position == 0:
                frequencies.update(parts)
        counts["attributes"] += len(cleaned)
        objects = attributes.setdefault(image_id, {})
        objects[object_id] = objects.get(object_id, ()) + tuple(cleaned)
    return attributes, frequencies


def count_names(images: Iterable[tuple[int, list[GenomeObject]]]) -> tuple[Counter[str], Counter[str]]:
    """Count the names of objects, and the attributes leading them."""
    split = cache(split_name)
    names: Counter[str] = Counter()
    leading: Counter[str] = Counter()
    for _, objects in images:
        for genome_object in objects:
            name, attributes = split(genome_object.name)
            names[name] += 1
            leading.update(attributes)
    return names, leading


class AnnotationConverter:
    """Converts objects to COCO annotations, whose ids start at 1 and continue across images.

    Args:
        classes: Classes to keep.
        attributes: Attributes to keep.
        object_attributes: Attributes by image and object; those of converted images are removed.
        max_attributes: Maximum number of attributes of an object.
        counts: Counts to update, see ``COUNTS``.
    """

    def __init__(
        self,
        *,
        classes: LabelVocabulary,
        attributes: LabelVocabulary,
        object_attributes: Attributes,
        max_attributes: int,
        counts: Counter[str],
    ) -> None:
        self.classes, self.attributes, self.object_attributes = classes, attributes, object_attributes
        self.max_attributes = max_attributes
        self.counts = counts
        self.last_id = 0
        self._split = cache(split_name)

    def annotations(self, image: GenomeImage, objects: list[GenomeObject]) -> list[dict[str, Any]]:
        """Return the annotations of an image; boxes are x, y, width, height in pixels."""
        by_object = self.object_attributes.pop(image.image_id, {})
        self._count_unused(by_object, objects)
        converted = (self._annotation(image, genome_object, by_object) for genome_object in objects)
        return [annotation for annotation in converted if annotation is not None]

    def skip_image(self, image_id: int, objects: list[GenomeObject]) -> None:
        """Count the objects and attributes of an image whose photo is missing."""
        by_object = self.object_attributes.pop(image_id, {})
        self._count_unused(by_object, objects)
        for genome_object in objects:
            self._skip("objects_of_missing_images", len(self._attributes(genome_object, by_object)))

    def skip_rest(self) -> None:
        """Count the attributes of the images that were not converted or skipped."""
        while self.object_attributes:
            self._count_unused(self.object_attributes.popitem()[1], [])

    def _count_unused(self, by_object: Mapping[int, tuple[str, ...]], objects: list[GenomeObject]) -> None:
        """Count the attributes of objects that the image lacks, and again those of duplicate objects."""
        known = {genome_object.object_id for genome_object in objects}
        unknown = sum(len(attributes) for n, attributes in by_object.items() if n not in known)
        used = sum(len(by_object.get(genome_object.object_id, ())) for genome_object in objects)
        self.counts["attributes_of_unknown_objects"] += unknown
        self.counts["attributes"] += unknown + used - sum(map(len, by_object.values()))

    def _skip(self, reason: str, attributes: int) -> None:
        self.counts[reason] += 1
        self.counts["attributes_of_skipped_objects"] += attributes

    def _attributes(
        self, genome_object: GenomeObject, by_object: Mapping[int, tuple[str, ...]]
    ) -> tuple[str, ...]:
        """Count an object, and return its attributes, those leading its name first."""
        leading = self._split(genome_object.name)[1]
        self.counts["objects"] += 1
        self.counts["names_with_leading_attributes"] += bool(leading)
        self.counts["attributes_from_names"] += len(leading)
        return leading + by_object.get(genome_object.object_id, ())

    def _annotation(
        self, image: GenomeImage, genome_object: GenomeObject, by_object: Mapping[int, tuple[str, ...]]
    ) -> dict[str, Any] | None:
        attributes = self._attributes(genome_object, by_object)
        category = self.classes.id(self._split(genome_object.name)[0])
        if category is None:
            self._skip("objects_out_of_vocabulary", len(attributes))
            return None
        x, y, width, height = genome_object.box
        if image.turned_by is not None:
            corners = np.array([[x, y, x + width, y + height]])
            [(x, y, x2, y2)] = turn_boxes(corners, image.turned_by).tolist()
            width, height = x2 - x, y2 - y
            self.counts["boxes_turned_by_exif"] += 1
        box = clip_box(x, y, width, height, width=image.width, height=image.height)
        if not (box[2] > 0 and box[3] > 0):
            self._skip("objects_outside_of_the_image", len(attributes))
            return None
        ids = self._attribute_ids(attributes)
        self.counts["boxes_written"] += 1
        self.counts["boxes_clipped"] += box != (x, y, width, height)
        self.counts["boxes_without_attributes"] += not ids
        self.last_id += 1
        return {
            "id": self.last_id,
            "image_id": image.image_id,
            "category_id": category,
            "attribute_ids": ids,
            "bbox": list(box),
            "area": box[2] * box[3],
            "iscrowd": 0,
            "object_id": genome_object.object_id,
        }

    def _attribute_ids(self, attributes: tuple[str, ...]) -> list[int]:
        """Return the distinct ids of attributes in their order, at most ``max_attributes``."""
        known = [n for name in attributes if (n := self.attributes.id(name)) is not None]
        ids = list(dict.fromkeys(known))
        self.counts["attributes_out_of_vocabulary"] += len(attributes) - len(known)
        self.counts["attributes_duplicated"] += len(known) - len(ids)
        self.counts["attributes_over_the_limit"] += len(ids[self.max_attributes :])
        self.counts["attributes_written"] += len(ids[: self.max_attributes])
        return ids[: self.max_attributes]
