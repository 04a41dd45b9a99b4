"""Matching the images of annotations with those of a feature store, and lists of image ids.

Annotations and stores name the same image differently: as the number 42, as the text "42" or
"000000000042", or as "val2014/000000000042.jpg". An image of the annotations is matched with the image of
the store that has the same id; failing that, with the only one of the same file name, whatever its
ending, or of the same number, where the folders that both name agree.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from bua.errors import InputError
from bua.io.files import read_text
from bua.store.reader import FeatureStore
from bua.structures.annotations import ImageId

Folders = tuple[str, ...]


def read_ids(path: Path | str) -> list[ImageId]:
    """Read image ids, one a line; they are numbers if all of them look like numbers.

    Raises:
        InputError: If the file does not exist, holds no ids, or holds an id twice.
    """
    words = [word for line in read_text(path).splitlines() if (word := line.strip())]
    if not words:
        raise InputError(f"{path}: holds no image ids; one a line is expected")
    ids: list[ImageId] = [int(w) for w in words] if all(w.isdecimal() for w in words) else list(words)
    seen: set[ImageId] = set()
    for image_id in ids:
        if image_id in seen:
            raise InputError(f"{path}: image {image_id} is duplicated")
        seen.add(image_id)
    return ids


def find_images(
    names: Mapping[ImageId, ImageId], store: FeatureStore
) -> tuple[dict[ImageId, ImageId], list[ImageId]]:
    """Match images with those of a store.

    Args:
        names: What names each image in the store, by its id in the annotations.
        store: Feature store.

    Returns:
        Ids in the store by ids in the annotations, and the ids in the annotations that have no match or
        more than one.
    """
    found: dict[ImageId, ImageId] = {}
    missing: list[ImageId] = []
    index: _NameIndex | None = None
    for image_id, name in names.items():
        if name in store:
            found[image_id] = name
            continue
        index = index or _NameIndex(store)
        stored = index.find(name)
        if stored is None:
            missing.append(image_id)
        else:
            found[image_id] = stored
    return found, missing


def match_images(
    names: Mapping[ImageId, ImageId], store: FeatureStore, source: str
) -> dict[ImageId, ImageId]:
    """Return the ids in a store by ids in the annotations.

    Args:
        names: What names each image in the store, by its id in the annotations.
        store: Feature store.
        source: File of the annotations, for messages.

    Raises:
        InputError: If the store lacks images, or one of its images would be two of the annotations.
    """
    found, missing = find_images(names, store)
    store.require_images([*found.values(), *(names[image_id] for image_id in missing)], source)
    for line in store.duplicate_claims(found, source):
        raise InputError(line)
    return found


class _NameIndex:
    """The images of a store by file name without ending, and by number without leading zeros."""

    def __init__(self, image_ids: Iterable[ImageId]) -> None:
        self._images: dict[tuple[Any, str | None], list[tuple[Folders, ImageId]]] = defaultdict(list)
        for image_id in image_ids:
            folders, stem = _split_path(image_id)
            for name in _name_and_number(stem):
                self._images[name, None].append((folders, image_id))
                self._images[name, folders[-1] if folders else ""].append((folders, image_id))

    def find(self, image_id: ImageId) -> ImageId | None:
        """Return the only image that matches, preferring names to numbers; ``None`` if there is no such."""
        folders, stem = _split_path(image_id)
        for name in _name_and_number(stem):
            parents = [folders[-1], ""] if folders else [None]
            candidates = [one for parent in parents for one in self._images.get((name, parent), ())]
            exact = [stored for other, stored in candidates if other == folders]
            matching = exact or [stored for other, stored in candidates if _agree(other, folders)]
            if matching:
                return matching[0] if len(matching) == 1 else None
        return None


def _split_path(image_id: ImageId) -> tuple[Folders, str]:
    """Return the folders of an image, and its file name without ending."""
    path = PurePosixPath(str(image_id))
    return path.parts[:-1], path.stem


def _name_and_number(stem: str) -> list[Any]:
    """Return a name, and the number that it is if it is one."""
    return [stem, int(stem)] if stem.isdecimal() else [stem]


def _agree(one: Folders, other: Folders) -> bool:
    """Return whether one of two paths of folders is empty or ends the other."""
    shared = min(len(one), len(other))
    return not shared or one[-shared:] == other[-shared:]
