"""Writing COCO instances with attributes, image by image, so that a file of any size needs no memory."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bua.data.genome.names import Names
from bua.data.genome.source import Picture
from bua.io.atomic import sync_folder


class InstancesWriter:
    """One instances file; it has its name only after ``publish``, and then it is whole.

    Args:
        path: the file.
        description: what it says about itself.
        classes: become ``categories``.
        attributes: become ``attributes``, the list that COCO does not have.
    """

    def __init__(self, path: Path, *, description: str, classes: Names, attributes: Names) -> None:
        self.path, self.partial = path, path.with_name(f"{path.name}.partial")
        self.images: list[dict[str, Any]] = []
        self.boxes = 0
        self._file = open(self.partial, "w", encoding="utf-8")  # noqa: SIM115
        head = {
            "info": {"description": description},
            "categories": _listed(classes),
            "attributes": _listed(attributes),
        }
        self._file.write(f'{_json(head)[:-1]},"annotations":[')

    def add(self, picture: Picture, annotations: Sequence[dict[str, Any]]) -> None:
        """Add an image and its boxes, at least one."""
        self.images.append(
            {
                "id": picture.image_id,
                "file_name": picture.file_name,
                "width": picture.width,
                "height": picture.height,
                "coco_id": picture.coco_id,
            }
        )
        separator = ",\n" if self.boxes else ""
        self._file.write(separator + _json(list(annotations))[1:-1])
        self.boxes += len(annotations)

    def finish(self) -> None:
        """Write the images behind the boxes, and everything to the disk."""
        self._file.write(f'],"images":{_json(self.images)}}}')
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def publish(self) -> None:
        """Give the file its name."""
        os.replace(self.partial, self.path)
        sync_folder(self.path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self.partial.unlink(missing_ok=True)  # after a mistake nothing half written stays


def _listed(names: Names) -> list[dict[str, Any]]:
    return [{"id": n, "name": name} for n, name in enumerate(names.classes, 1)]


def _json(content: Any) -> str:
    return json.dumps(content, allow_nan=False, separators=(",", ":"))
