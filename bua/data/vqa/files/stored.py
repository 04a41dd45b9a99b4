"""Under which id a feature store holds the images of questions."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from bua.errors import InputError
from bua.store.reader import FeatureStore, ImageId

Folders = tuple[str, ...]


def stored_images(image_ids: Iterable[ImageId], store: FeatureStore, source: str) -> dict[ImageId, ImageId]:
    """Return the ids that images have in a store.

    An image may stand in the store as a number where the questions have a text, or the other way about,
    and with another ending, or a folder where the questions tell none, as long as only one image there is
    called so.

    Args:
        image_ids: of the questions; one may come several times.
        store: the store.
        source: the file of the questions, for errors.

    Raises:
        InputError: the store lacks images; how many, and the first; or one there would be two images.
    """
    found = find_stored(image_ids, store)
    store.require(list(found.values()), source)
    for line in store.claimed_twice(found, source):
        raise InputError(line)
    return found


def find_stored(image_ids: Iterable[ImageId], store: FeatureStore) -> dict[ImageId, ImageId]:
    """Return the ids that images have in a store; one that it lacks keeps its own."""
    found = {image_id: image_id for image_id in image_ids}
    lost = [image_id for image_id in found if image_id not in store]
    if not lost:
        return found
    names = _Names(store)
    for image_id in lost:
        stored = names.find(image_id)
        found[image_id] = image_id if stored is None else stored
    return found


class _Names:
    """How the images of a store may be called: by their names, or by their numbers without zeros in front."""

    def __init__(self, image_ids: Iterable[ImageId]) -> None:
        self.of: dict[tuple[Any, str | None], list[tuple[Folders, ImageId]]] = defaultdict(list)
        for image_id in image_ids:
            folders, stem = _parts(image_id)
            for name in _calls(stem):
                self.of[name, None].append((folders, image_id))
                self.of[name, folders[-1] if folders else ""].append((folders, image_id))

    def find(self, image_id: ImageId) -> ImageId | None:
        """Return the image that is meant, None if there is none or more than one; names go before numbers."""
        folders, stem = _parts(image_id)
        for name in _calls(stem):
            places = [folders[-1], ""] if folders else [None]
            there = [one for place in places for one in self.of.get((name, place), ())]
            exact = [stored for other, stored in there if other == folders]
            alike = exact or [stored for other, stored in there if _may_be(other, folders)]
            if alike:
                return alike[0] if len(alike) == 1 else None
        return None


def _parts(image_id: ImageId) -> tuple[Folders, str]:
    """Return the folders of an image, and its name without ending."""
    path = PurePosixPath(str(image_id))
    return path.parts[:-1], path.stem


def _calls(stem: str) -> list[Any]:
    """Return a name, and the number that it is."""
    return [stem, int(stem)] if stem.isdecimal() else [stem]


def _may_be(one: Folders, other: Folders) -> bool:
    """Say whether the folders of two images may be one: one of them tells none, or tells more of it."""
    least = min(len(one), len(other))
    return not least or one[-least:] == other[-least:]
