"""Matching the images of a caption file with those of a feature store."""

from collections.abc import Sequence

from bua.data.captions.files import CaptionFile
from bua.data.image_lookup import find_images, match_images
from bua.errors import InputError
from bua.store.reader import FeatureStore
from bua.structures.annotations import ImageId

#: What of a caption file may name an image in a store.
IMAGE_KEYS = ("id", "file_name")


def match_caption_images(
    file: CaptionFile, image_ids: Sequence[ImageId], store: FeatureStore, image_key: str
) -> dict[ImageId, ImageId]:
    """Return the ids in a store by ids in a caption file.

    Args:
        file: File of captions.
        image_ids: Images of the file.
        store: Feature store.
        image_key: What of the file names an image in the store: "id" or "file_name".

    Raises:
        InputError: If the store lacks images, one of its images would be two of the file, or
            ``image_key`` is neither of the two.
    """
    names = caption_image_names(file, image_ids, image_key)
    if names and not find_images(names, store)[0]:
        _suggest_other_key(file, image_ids, store, image_key)
    return match_images(names, store, str(file.path))


def caption_image_names(
    file: CaptionFile, image_ids: Sequence[ImageId], image_key: str
) -> dict[ImageId, ImageId]:
    """Return what names each image of a caption file in a store: its id or its file name.

    Raises:
        InputError: If ``image_key`` is neither "id" nor "file_name".
    """
    if image_key not in IMAGE_KEYS:
        raise InputError(f"image_key={image_key}: must be {' or '.join(IMAGE_KEYS)}")
    return {i: i if image_key == "id" else file.file_names[i] for i in image_ids}


def _suggest_other_key(
    file: CaptionFile, image_ids: Sequence[ImageId], store: FeatureStore, image_key: str
) -> None:
    """Raise ``InputError`` if the other key would have matched images."""
    for other in IMAGE_KEYS:
        found, _ = find_images(caption_image_names(file, image_ids[:1000], other), store)
        if other != image_key and found:
            image_id, stored = next(iter(found.items()))
            raise InputError(
                f"{store.path}: does not name images by the {image_key} of {file.path}: its {stored!r} is "
                f"image {image_id!r} ({file.file_names[image_id]}) there; give image_key={other}"
            )
