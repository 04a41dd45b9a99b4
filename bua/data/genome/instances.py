"""Write COCO instances with attributes image by image, without holding all annotations in memory."""

import json
from collections.abc import Sequence
from typing import IO, Any

from bua.data.genome.names import LabelVocabulary
from bua.data.genome.source import GenomeImage


class InstancesWriter:
    """Writes the content of an instances file; ``finish`` completes it.

    Args:
        file: Text file to write to.
        description: Description to store in the file.
        classes: Classes, which become ``categories``.
        attributes: Attributes, which become the list ``attributes``, an extension of the COCO format.
    """

    def __init__(
        self, file: IO[str], *, description: str, classes: LabelVocabulary, attributes: LabelVocabulary
    ) -> None:
        self._file = file
        self.images: list[dict[str, Any]] = []
        self.boxes = 0
        head = {
            "info": {"description": description},
            "categories": _categories(classes),
            "attributes": _categories(attributes),
        }
        self._file.write(f'{_json(head)[:-1]},"annotations":[')

    def add(self, image: GenomeImage, annotations: Sequence[dict[str, Any]]) -> None:
        """Add an image and its annotations, at least one."""
        self.images.append(
            {
                "id": image.image_id,
                "file_name": image.file_name,
                "width": image.width,
                "height": image.height,
                "coco_id": image.coco_id,
            }
        )
        separator = ",\n" if self.boxes else ""
        self._file.write(separator + _json(list(annotations))[1:-1])
        self.boxes += len(annotations)

    def finish(self) -> None:
        """Write the images after the annotations."""
        self._file.write(f'],"images":{_json(self.images)}}}')


def _categories(labels: LabelVocabulary) -> list[dict[str, Any]]:
    return [{"id": n, "name": name} for n, name in enumerate(labels.classes, 1)]


def _json(content: Any) -> str:
    return json.dumps(content, allow_nan=False, separators=(",", ":"))
