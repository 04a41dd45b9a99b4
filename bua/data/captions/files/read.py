"""Reading captions in any format: it is told by the keys of the file.

One pass over a file finds every mistake in it. Who reads for training stops at the first; the
validator (``bua.data.captions.files.check``) lists them all.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bua.data.captions.files import coco, karpathy, plain
from bua.data.captions.files.entry import Entry, find_mistake, normalize_caption
from bua.data.captions.files.file import CaptionFile
from bua.data.captions.files.ids import read_ids
from bua.errors import InputError
from bua.io.json_file import Report, read_json, read_members
from bua.store.reader import ImageId


def read_captions(
    path: Path | str, ids: Path | str | None = None, splits: str | Sequence[str] = ()
) -> CaptionFile:
    """Read captions, or those of some of the images.

    Args:
        path: COCO captions, nocaps, a file of Karpathy's, or plain JSON of one's own.
        ids: a list of image ids, one a line: these images, in this order.
        splits: of Karpathy's files, which need either: the images of these splits.

    Raises:
        InputError: the file is broken, a caption is empty or holds control characters, or an image or
            a split is not in it.
    """
    return select_images(read_caption_file(path), ids, splits)


def read_caption_file(
    path: Path | str, report: Report | None = None, *, captions: bool = True
) -> CaptionFile:
    """Read every image of a file.

    Args:
        path: the file.
        report: hears of every mistake, and what is mistaken is left out; without it, the first one
            is raised.
        captions: False to read the images of a COCO file whose annotations are something else.

    Raises:
        InputError: the file is no file of captions, or has a mistake that nobody hears of.
    """

    def say(mistake: str) -> None:
        if report is None:
            raise InputError(f"{path}: {mistake}")
        report(f"{path}: {mistake}")

    content = read_json(path)
    if not captions and isinstance(content, dict):
        content.pop("annotations", None)
    format, entries = _entries(content, path, say)
    if not entries:
        say("there are no images in it")
    file = CaptionFile(Path(path), {}, {}, format=format)
    for entry in entries:
        if entry.image_id in file.captions:
            say(f"image {entry.image_id} comes twice")
        else:
            _add(file, entry, say)
    if len({type(image_id) for image_id in file.captions}) > 1:
        text = next(image_id for image_id in file.captions if isinstance(image_id, str))
        say(f"some image ids are numbers and some are texts, as {text!r} is; one kind is needed")
    return file


def select_images(
    file: CaptionFile, ids: Path | str | None = None, splits: str | Sequence[str] = ()
) -> CaptionFile:
    """Return the images of a file that a list of ids and the name or names of splits leave.

    Raises:
        InputError: a split or an image is not there, or neither is given of a file with splits.
    """
    names = [splits] if isinstance(splits, str) else list(splits)
    if file.splits and not names and ids is None:
        raise InputError(f"{file.path}: name the splits that are meant; it has {file.split_names()}")
    chosen = file.of_splits(names)
    if ids is None:
        return chosen
    wanted = read_ids(ids)
    for image_id in wanted:
        if image_id not in chosen.captions:
            where = f" among {', '.join(names)}" if image_id in file.captions else ""
            raise InputError(f"{ids}: image {image_id} is not in {file.path}{where}")
    return chosen.select(wanted)


def _entries(content: Any, path: Path | str, say: Report) -> tuple[str, list[Entry]]:
    """Tell the format by its keys and return its name and the images."""
    if isinstance(content, list):
        return "plain list", plain.entries_of_list(content, say)
    if isinstance(content, dict) and isinstance(content.get("images"), list):
        images = [image for image in content["images"] if isinstance(image, dict)]
        if "annotations" not in content and any("sentences" in image for image in images):
            return "Karpathy's splits", karpathy.entries(content, say)
        nocaps = any("domain" in image or "open_images_id" in image for image in images)
        return "nocaps" if nocaps else "COCO captions", coco.entries(content, say)
    if isinstance(content, dict) and "images" not in content and not any(map(_is_nested, content.values())):
        return "plain object", plain.entries_of_members(read_members(path), say)
    raise InputError(
        f'{path}: not a file of captions; COCO\'s {{"images", "annotations"}}, Karpathy\'s {{"images"}} '
        'with "sentences", {"IMAGE_ID": ["caption", ...]} or [{"image_id", "caption"}] is needed'
    )


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict) for v in value))


def _add(file: CaptionFile, entry: Entry, say: Report) -> None:
    """Put an image with its sound captions into a file."""
    image_id: ImageId = entry.image_id
    file.file_names[image_id] = entry.file_name
    file.captions[image_id] = []
    for caption in entry.captions:
        if mistake := find_mistake(caption.text):
            say(f"{caption.name} of image {image_id} {mistake}")
        else:
            file.captions[image_id].append(normalize_caption(caption.text))
    if entry.split is not None:
        file.splits[image_id] = entry.split
    if entry.domain is not None:
        file.domains[image_id] = entry.domain
