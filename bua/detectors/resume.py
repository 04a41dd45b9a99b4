"""Checks that let an extraction resume or accept a finished file, and the list of unreadable images.

What was extracted is taken over only if it was made in the same way from the same image files.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any, TypedDict

from bua.detectors.detector import Detector
from bua.detectors.photo_files import PhotoFile
from bua.errors import InputError
from bua.io.schema import Id, parse_json
from bua.io.write import write_text
from bua.store.reader import FeatureStore
from bua.structures.annotations import ImageId


def errors_file(out: Path) -> Path:
    """Return the path of the list of unreadable images beside a feature store."""
    return out.with_name(f"{out.stem}.errors.jsonl")


def write_errors(out: Path, errors: Mapping[ImageId, str]) -> None:
    """Write the list of unreadable images beside a feature store, or remove it if there are none."""
    path = errors_file(out)
    path.unlink(missing_ok=True)
    if errors:
        lines = (json.dumps({"image_id": image_id, "error": error}) for image_id, error in errors.items())
        write_text(path, "\n".join(lines) + "\n")


class _Error(TypedDict):
    image_id: Id
    error: str


def read_errors(out: Path) -> dict[ImageId, str]:
    """Return the reasons why images are unreadable, by image id, from the list beside a feature store."""
    path = errors_file(out)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    records = [parse_json(line, _Error, path, f"line {n}") for n, line in enumerate(lines, 1)]
    return {record["image_id"]: record["error"] for record in records}


def file_bytes(photo: PhotoFile) -> int:
    """Return the size of an image file in bytes, or 0 if it no longer exists."""
    return photo.path.stat().st_size if photo.path.exists() else 0


def fingerprint(photos: Sequence[PhotoFile]) -> str:
    """Return a hash of the ids and file sizes of images, by which the same files are recognized."""
    lines = "".join(f"{photo.image_id!r} {file_bytes(photo)}\n" for photo in photos)
    return hashlib.sha256(lines.encode()).hexdigest()


def require_not_newer(photos: Sequence[PhotoFile], extracted: Set[ImageId], made: Path) -> None:
    """Raise ``InputError`` if an image file has changed since its features were extracted.

    Args:
        photos: Image files.
        extracted: Ids of the images whose features were extracted.
        made: File that the extraction wrote.
    """
    made_at = made.stat().st_mtime_ns
    for photo in photos:
        if photo.image_id in extracted and photo.path.exists() and photo.path.stat().st_mtime_ns > made_at:
            raise InputError(
                f"{photo.path}: newer than its features in {made}; delete that file or choose another out"
            )


def require_same_files(photos: Sequence[PhotoFile], sizes: Mapping[ImageId, int], folder: Path) -> None:
    """Raise ``InputError`` if an image file differs in size from the one that was extracted.

    Args:
        photos: Image files.
        sizes: Sizes in bytes of the files that finished shards were made from, by image id.
        folder: Folder of the shards.
    """
    for photo in photos:
        if photo.image_id in sizes and file_bytes(photo) != sizes[photo.image_id]:
            raise InputError(
                f"{photo.path}: differs from the file that its features in {folder} were made from; "
                "delete that folder or choose another out"
            )


def require_same_detector(
    store: FeatureStore, detector: Detector, identity: Mapping[str, Any], dtype: str
) -> None:
    """Raise ``InputError`` unless a finished store was made by the same detector with the same options.

    Args:
        store: Finished feature store.
        detector: Detector of this extraction.
        identity: Identity of its features.
        dtype: Type of its features.
    """
    names = store.metadata.class_names, store.metadata.attribute_names
    same_names = names == (tuple(detector.class_names), tuple(detector.attribute_names))
    stored_dtype = store[store.image_ids[0]].features.dtype
    if store.metadata.identity != identity or stored_dtype != dtype or not same_names:
        raise InputError(
            f"{store.path}: created by another detector or with other options; choose another out"
        )


def require_same_photos(store: FeatureStore, photos: Sequence[PhotoFile]) -> None:
    """Raise ``InputError`` if a finished store was made from other image files with the same ids."""
    require_not_newer(photos, set(store.image_ids), store.path)
    recorded = store.metadata.origin.get("photographs")
    photos_by_id = {photo.image_id: photo for photo in photos}
    if recorded is None or not all(image_id in photos_by_id for image_id in store):
        return  # the fingerprint can only be compared if all images of the store are given
    if fingerprint([photos_by_id[image_id] for image_id in store]) != recorded:
        raise InputError(
            f"{store.path}: created from other images with the same names; delete it or choose another out"
        )
