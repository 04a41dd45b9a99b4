"""Reading COCO captions files and lists of image ids."""

from dataclasses import dataclass
from pathlib import Path

from bua.errors import InputError
from bua.json_file import read_json, records
from bua.store.reader import ImageId


@dataclass(frozen=True)
class CaptionFile:
    """What a COCO captions file says: file names and captions by image id, in the file's order."""

    path: Path
    file_names: dict[ImageId, str]
    captions: dict[ImageId, list[str]]


def read_captions(path: Path | str, ids: Path | str | None = None) -> CaptionFile:
    """Read a COCO captions file, or those of its images that a list of ids names.

    Raises:
        InputError: the file is broken, a caption is empty or about an image that the file does
            not have, or the list names an image that it does not have.
    """
    content = read_json(path)
    images = records(content, path, "images", {"id": (int, str), "file_name": str})
    file_names: dict[ImageId, str] = {}
    for image in images:
        if image["id"] in file_names:
            raise InputError(f"{path}: image {image['id']} is in images twice")
        file_names[image["id"]] = image["file_name"]
    captions: dict[ImageId, list[str]] = {image_id: [] for image_id in file_names}
    kinds: dict[str, type | tuple[type, ...]] = {"id": int, "image_id": (int, str), "caption": str}
    for annotation in records(content, path, "annotations", kinds):
        if annotation["image_id"] not in captions:
            raise InputError(
                f"{path}: caption {annotation['id']} is about image {annotation['image_id']}, "
                "which is not in images"
            )
        if not annotation["caption"].strip():
            raise InputError(f"{path}: caption {annotation['id']} of image {annotation['image_id']} is empty")
        captions[annotation["image_id"]].append(annotation["caption"])
    if ids is not None:
        wanted = read_ids(ids)
        missing = [image_id for image_id in wanted if image_id not in file_names]
        if missing:
            raise InputError(f"{ids}: image {missing[0]} is not in {path}")
        file_names = {image_id: file_names[image_id] for image_id in wanted}
        captions = {image_id: captions[image_id] for image_id in wanted}
    return CaptionFile(Path(path), file_names, captions)


def read_ids(path: Path | str) -> list[ImageId]:
    """Read image ids, one a line; they are numbers if all of them look like numbers.

    Raises:
        InputError: there is no such file, it is empty, or an id comes twice.
    """
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    words = [line for line in lines if line]
    if not words:
        raise InputError(f"{path}: there are no image ids in it")
    ids: list[ImageId] = [int(w) for w in words] if all(w.isdigit() for w in words) else list(words)
    seen: set[ImageId] = set()
    for image_id in ids:
        if image_id in seen:
            raise InputError(f"{path}: image {image_id} is listed twice")
        seen.add(image_id)
    return ids
