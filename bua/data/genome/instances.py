"""Write COCO instances with attributes image by image, without holding all annotations in memory."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bua.data.genome.names import LabelVocabulary
from bua.data.genome.source import GenomeImage
from bua.io.files import sync_folder


class InstancesWriter:
    """Writes an instances file under a temporary name; ``publish`` gives the complete file its name.

    Args:
        path: File to write.
        description: Description to store in the file.
        classes: Classes, which become ``categories``.
        attributes: Attributes, which become the list ``attributes``, an extension of the COCO format.
    """

    def __init__(
        self, path: Path, *, description: str, classes: LabelVocabulary, attributes: LabelVocabulary
    ) -> None:
        self.path, self.partial = path, path.with_name(f"{path.name}.partial")
        self.images: list[dict[str, Any]] = []
        self.boxes = 0
        self._file = open(self.partial, "w", encoding="utf-8")  # noqa: SIM115
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
        """Write the images after the annotations, and flush the file to disk."""
        self._file.write(f'],"images":{_json(self.images)}}}')
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def publish(self) -> None:
        """Rename the finished file to its final name."""
        os.replace(self.partial, self.path)
        sync_folder(self.path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self.partial.unlink(missing_ok=True)  # leave no incomplete file after an error


def _categories(labels: LabelVocabulary) -> list[dict[str, Any]]:
    return [{"id": n, "name": name} for n, name in enumerate(labels.classes, 1)]


def _json(content: Any) -> str:
    return json.dumps(content, allow_nan=False, separators=(",", ":"))
