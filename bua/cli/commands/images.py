"""Which images of a store a command is about."""

from pathlib import Path
from typing import Any

from bua.data.captions.files import read_caption_file, read_ids, select_images
from bua.data.captions.files.stored import stored_ids
from bua.engine.instantiate import to_plain
from bua.engine.run_directory import RunDirectory
from bua.errors import InputError
from bua.store.reader import FeatureStore, ImageId


def chosen_images(config: Any, run: str, store: FeatureStore) -> dict[ImageId, ImageId]:
    """Return the images that are meant: of a file, of a split of the run, or all of the store.

    Args:
        config: has ``images``, ``split``, ``splits``, ``ids`` and ``image_key``.
        run: directory of the run whose data are meant where no file is given.
        store: holds the regions of the images.

    Returns:
        Their ids in the store by their ids in the file.

    Raises:
        InputError: a file is broken, or an image is not in the file or not in the store.
    """
    if config.images is None and config.split is None:
        return _listed(store.image_ids, config.ids, str(store.path))
    if config.images is not None and Path(config.images).suffix == ".txt":
        if config.split is not None:
            raise InputError(f"split={config.split}: {config.images} is a list of images without splits")
        found = _listed(read_ids(config.images), config.ids, config.images)
        store.require(list(found), config.images)
        return found
    source, ids, splits, image_key = config.images, config.ids, config.splits, config.image_key
    if source is not None and config.split is not None:
        splits = [*to_plain(splits), config.split]
    if source is None:
        data = RunDirectory(run).config()["data"]
        if config.split in ("train", "val"):
            source, ids = data.get(config.split), ids or data.get(f"{config.split}_ids")
            splits = splits or data.get(f"{config.split}_splits") or []
        else:  # a split of the file that the run's own splits are of
            source, splits = data.get("val"), [config.split]
        image_key = image_key or data.get("image_key")
    if not source:
        raise InputError(f"{run}: its data have no {config.split}; give the file as images=F.json")
    file = select_images(read_caption_file(source, captions=False), ids, splits)
    return stored_ids(file, list(file.captions), store, image_key or "id")


def _listed(images: list[ImageId], ids: str | None, source: str) -> dict[ImageId, ImageId]:
    """Return the images that a list names, or all of them."""
    if ids is None:
        return {image_id: image_id for image_id in images}
    there = set(images)
    for image_id in read_ids(ids):
        if image_id not in there:
            raise InputError(f"{ids}: image {image_id} is not among the {len(images)} of {source}")
    return {image_id: image_id for image_id in read_ids(ids)}
