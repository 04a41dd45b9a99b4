"""Reading captions in any format, which is recognized by the keys of the file.

One pass over a file finds every mistake in it. Readers for training stop at the first; the validator
(``bua.data.captions.files.check``) lists them all.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bua.data.captions.files import formats
from bua.data.captions.files.caption_file import CaptionFile, Entry, find_mistake, normalize_caption
from bua.data.image_lookup import read_ids
from bua.errors import InputError
from bua.io.files import Report, read_json, read_members


def read_captions(
    path: Path | str, ids: Path | str | None = None, splits: str | Sequence[str] = ()
) -> CaptionFile:
    """Read captions of all images of a file, or of some of them.

    Args:
        path: COCO captions, nocaps, one of Karpathy's files, or plain JSON.
        ids: List of image ids, one a line, that selects images and their order. Default: all images.
        splits: Splits of one of Karpathy's files, which need either ``ids`` or ``splits``.

    Raises:
        InputError: If the file is broken, a caption is empty or holds control characters, or an image or
            a split does not exist.
    """
    return select_images(read_caption_file(path), ids, splits)


def read_caption_file(
    path: Path | str, report: Report | None = None, *, captions: bool = True
) -> CaptionFile:
    """Read every image of a file.

    Args:
        path: Path of the file.
        report: Called with every mistake, whose image or caption is then left out. By default the first
            mistake is raised.
        captions: Whether to read captions; ``False`` reads the images of a COCO file whose annotations
            are something else.

    Raises:
        InputError: If the file is not a caption file, or has a mistake and ``report`` is not given.
    """

    def on_mistake(mistake: str) -> None:
        if report is None:
            raise InputError(f"{path}: {mistake}")
        report(f"{path}: {mistake}")

    content = read_json(path)
    if not captions and isinstance(content, dict):
        content.pop("annotations", None)
    format, entries = _entries(content, path, on_mistake)
    if not entries:
        on_mistake("holds no images")
    file = CaptionFile(Path(path), {}, {}, format=format)
    for entry in entries:
        if entry.image_id in file.captions:
            on_mistake(f"image {entry.image_id} is duplicated")
        else:
            _add(file, entry, on_mistake)
    if len({type(image_id) for image_id in file.captions}) > 1:
        text = next(image_id for image_id in file.captions if isinstance(image_id, str))
        on_mistake(f"image ids must be all numbers or all texts; {text!r} is a text, others are numbers")
    return file


def select_images(
    file: CaptionFile, ids: Path | str | None = None, splits: str | Sequence[str] = ()
) -> CaptionFile:
    """Return the images of a file that are in a list of ids and in some splits.

    Args:
        file: File of captions.
        ids: List of image ids, one a line. Default: all images.
        splits: Name or names of splits. Default: all splits, for files without splits or with ``ids``.

    Raises:
        InputError: If a split or an image does not exist, or a file with splits comes with neither.
    """
    names = [splits] if isinstance(splits, str) else list(splits)
    if file.splits and not names and ids is None:
        raise InputError(f"{file.path}: choose among its splits {file.split_names()}")
    selected = file.select_splits(names)
    if ids is None:
        return selected
    wanted = read_ids(ids)
    for image_id in wanted:
        if image_id not in selected.captions:
            where = f" in the splits {', '.join(names)}" if image_id in file.captions else ""
            raise InputError(f"{ids}: image {image_id} is not in {file.path}{where}")
    return selected.select(wanted)


def _entries(content: Any, path: Path | str, report: Report) -> tuple[str, list[Entry]]:
    """Recognize the format by its keys, and return its name and the images."""
    if isinstance(content, list):
        return "plain list", formats.list_entries(content, report)
    if isinstance(content, dict) and isinstance(content.get("images"), list):
        images = [image for image in content["images"] if isinstance(image, dict)]
        if "annotations" not in content and any("sentences" in image for image in images):
            return "Karpathy's splits", formats.karpathy_entries(content, report)
        nocaps = any("domain" in image or "open_images_id" in image for image in images)
        return "nocaps" if nocaps else "COCO captions", formats.coco_entries(content, report)
    if isinstance(content, dict) and "images" not in content and not any(map(_is_nested, content.values())):
        return "plain object", formats.object_entries(read_members(path), report)
    raise InputError(
        f'{path}: not a caption file; must be COCO\'s {{"images", "annotations"}}, Karpathy\'s {{"images"}} '
        'with "sentences", {"IMAGE_ID": ["caption", ...]} or [{"image_id", "caption"}]'
    )


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict) for v in value))


def _add(file: CaptionFile, entry: Entry, report: Report) -> None:
    """Add an image with its valid captions to a file."""
    file.file_names[entry.image_id] = entry.file_name
    captions = file.captions[entry.image_id] = []
    for caption in entry.captions:
        if mistake := find_mistake(caption.text):
            report(f"{caption.name} of image {entry.image_id} {mistake}")
        else:
            captions.append(normalize_caption(caption.text))
    if entry.split is not None:
        file.splits[entry.image_id] = entry.split
    if entry.domain is not None:
        file.domains[entry.image_id] = entry.domain
