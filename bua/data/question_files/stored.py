"""Under which id a feature store holds the images of questions."""

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from bua.store.reader import FeatureStore, ImageId


def stored_images(image_ids: Iterable[ImageId], store: FeatureStore, source: str) -> dict[ImageId, ImageId]:
    """Return the ids that images have in a store.

    An image whose id is a text, as in VizWiz, TextVQA and GQA, may stand in the store with another
    folder or ending, with none, or as a number, as long as only one image there is called so.

    Args:
        image_ids: of the questions; one may come several times.
        store: the store.
        source: the file of the questions, for errors.

    Raises:
        InputError: the store lacks images; how many, and the first.
    """
    found = find_stored(image_ids, store)
    store.require(list(found.values()), source)
    return found


def find_stored(image_ids: Iterable[ImageId], store: FeatureStore) -> dict[ImageId, ImageId]:
    """Return the ids that images have in a store; one that it lacks keeps its own."""
    found = {image_id: image_id for image_id in image_ids}
    if any(image_id not in store and isinstance(image_id, str) for image_id in found):
        stems = [_stem(image_id) for image_id in store]
        alone = {stem for stem, count in Counter(stems).items() if count == 1}
        called = {stem: i for stem, i in zip(stems, store, strict=True) if stem in alone}
        for image_id in found:
            if image_id not in store and isinstance(image_id, str):
                found[image_id] = called.get(_stem(image_id), image_id)
    return found


def _stem(image_id: ImageId) -> str:
    return PurePosixPath(str(image_id)).stem
