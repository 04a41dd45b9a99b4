"""Under which id a feature store holds the images of a file of captions."""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from bua.data.captions.files.file import CaptionFile
from bua.errors import InputError
from bua.store.reader import FeatureStore, ImageId

#: What of a file of captions may name an image in a store.
IMAGE_KEYS = ("id", "file_name")


def stored_ids(
    file: CaptionFile, image_ids: Sequence[ImageId], store: FeatureStore, image_key: str
) -> dict[ImageId, ImageId]:
    """Return the ids that images have in a store, by their ids in the file.

    Raises:
        InputError: the store lacks an image, two images have one name in it, or there is no such
            ``image_key``.
    """
    found, missing = find_stored(file, image_ids, store, image_key)
    if missing and not found:
        _explain(file, image_ids, store, image_key)
    asked = missing if image_key == "id" else [file.file_names[image_id] for image_id in missing]
    store.require([*found.values(), *asked], str(file.path))
    for line in store.claimed_twice(found, str(file.path)):
        raise InputError(line)
    return found


def find_stored(
    file: CaptionFile, image_ids: Sequence[ImageId], store: FeatureStore, image_key: str
) -> tuple[dict[ImageId, ImageId], list[ImageId]]:
    """Return the ids that images have in a store, and the images that it lacks.

    Args:
        file: says how the photographs are called.
        image_ids: images of the file.
        store: the store.
        image_key: "id" where the store has the ids of the file; "file_name" where it has the names
            of the photographs, with or without their folder and their ending, or as a number.

    Raises:
        InputError: there is no such ``image_key``.
    """
    if image_key not in IMAGE_KEYS:
        raise InputError(f"image_key={image_key}: {' or '.join(IMAGE_KEYS)} is needed")
    found: dict[ImageId, ImageId] = {}
    missing = []
    for image_id in image_ids:
        names = iter([image_id]) if image_key == "id" else _names(file.file_names[image_id])
        stored = next((name for name in names if name in store), None)
        if stored is None:
            missing.append(image_id)
        else:
            found[image_id] = stored
    return found, missing


def _names(file_name: str) -> Iterator[ImageId]:
    """Yield what a store may call a photograph, the fullest name first."""
    path = PurePosixPath(file_name)
    yield from (file_name, path.name, str(path.with_suffix("")), path.stem)
    if path.stem.isdecimal():
        yield int(path.stem)


def _explain(file: CaptionFile, image_ids: Sequence[ImageId], store: FeatureStore, image_key: str) -> None:
    """Raise ``InputError`` if the other key would have found the images."""
    for other in IMAGE_KEYS:
        found, _ = find_stored(file, image_ids[:1000], store, other)
        if other != image_key and found:
            image_id, stored = next(iter(found.items()))
            raise InputError(
                f"{store.path}: names images otherwise than {file.path}: {stored!r} is its image "
                f"{image_id!r} ({file.file_names[image_id]}); give image_key={other}"
            )
