"""Under which id a feature store holds the images of questions."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from bua.errors import InputError
from bua.store.reader import FeatureStore, ImageId


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
    return found


def find_stored(image_ids: Iterable[ImageId], store: FeatureStore) -> dict[ImageId, ImageId]:
    """Return the ids that images have in a store; one that it lacks keeps its own.

    Raises:
        InputError: one image of the store would be two images of the questions.
    """
    found = {image_id: image_id for image_id in image_ids}
    lost = [image_id for image_id in found if image_id not in store]
    if not lost:
        return found
    called = defaultdict(list)
    for image_id in store:
        called[_stem(image_id)].append(image_id)
    owner = {image_id: image_id for image_id in found if image_id in store}
    for image_id in lost:
        alike = [other for other in called[_stem(image_id)] if _may_be(other, image_id)]
        if len(alike) == 1:
            found[image_id] = alike[0]
            if owner.setdefault(alike[0], image_id) != image_id:
                raise InputError(
                    f"{store.path}: its image {alike[0]!r} would be two images of the questions: "
                    f"{owner[alike[0]]!r} and {image_id!r}"
                )
    return found


def _stem(image_id: ImageId) -> str:
    """Return a name without folder and ending, a number without zeros in front."""
    stem = PurePosixPath(str(image_id)).stem
    return str(int(stem)) if stem.isdecimal() else stem


def _may_be(one: ImageId, other: ImageId) -> bool:
    """Say whether the folders of two images may be one: one of them tells none, or tells more of it."""
    folders = [PurePosixPath(str(image_id)).parts[:-1] for image_id in (one, other)]
    least = min(map(len, folders))
    return not least or folders[0][-least:] == folders[1][-least:]
