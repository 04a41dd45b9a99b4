"""Reading the captions of one file in any format (see the package), and validating them.

One pass over a file finds every mistake in it. Readers for training stop at the first; the validator
(``check``) lists them all.
"""

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bua.data.captions.files.entries import Entry
from bua.data.captions.files.json_formats import (
    coco_entries,
    karpathy_entries,
    list_entries,
    object_entries,
)
from bua.data.captions.files.tables import table_entries
from bua.data.image_lookup import read_ids
from bua.errors import InputError
from bua.io.files import read_json, read_members, read_text
from bua.io.schema import Report
from bua.structures.annotations import ImageId

#: Unicode categories that no caption may hold, white space aside: control characters and lone surrogates.
_FORBIDDEN = ("Cc", "Cs")
#: Unicode category of invisible characters: joiners of emoji, soft hyphens, marks of direction.
_FORMAT = "Cf"
#: What is wrong with a caption without a visible character.
EMPTY = "is empty"


@dataclass(frozen=True)
class CaptionFile:
    """The images of a file with their captions.

    Attributes:
        path: Path of the file.
        file_names: Names of the image files, by image id.
        captions: Captions by image id, each on one line unless read as written; an image may have none.
        domains: Domains of the images of nocaps; empty for other files.
        splits: Splits of the images of Karpathy's files; empty for other files.
        format: Name of the format that the file was recognized as.
        num_flagged: Number of captions that were left out because VizWiz flags them.
    """

    path: Path
    file_names: dict[ImageId, str]
    captions: dict[ImageId, list[str]]
    domains: dict[ImageId, str] = field(default_factory=dict)
    splits: dict[ImageId, str] = field(default_factory=dict)
    format: str = "captions"
    num_flagged: int = 0

    def select(self, image_ids: Iterable[ImageId]) -> "CaptionFile":
        """Return a copy with only these images, in this order."""
        ids = list(image_ids)
        return replace(
            self,
            file_names={i: self.file_names[i] for i in ids},
            captions={i: self.captions[i] for i in ids},
            domains={i: self.domains[i] for i in ids if i in self.domains},
            splits={i: self.splits[i] for i in ids if i in self.splits},
        )

    def select_splits(self, names: Collection[str]) -> "CaptionFile":
        """Return a copy with only the images of some splits; without names, the file itself.

        Raises:
            InputError: If a split does not exist; the message lists the splits of the file.
        """
        if not names:
            return self
        counts = Counter(self.splits.values())
        unknown = [name for name in names if name not in counts]
        if unknown and not counts:
            raise InputError(
                f"{self.path}: has no splits, as its format is {self.format}; leave out {unknown[0]!r}, and "
                "select images by lists of ids (ids=, in training train_ids= and val_ids=)"
            )
        if unknown:
            raise InputError(f"{self.path}: has no split {unknown[0]!r}; it has {self.split_names()}")
        return self.select(i for i, split in self.splits.items() if split in names)

    def split_names(self) -> str:
        """Return the splits and their numbers of images as a string."""
        return ", ".join(
            f"{name} ({count:,} images)" for name, count in Counter(self.splits.values()).items()
        )


def find_mistake(text: str) -> str | None:
    """Return what is wrong with a caption, or ``None`` if it is valid."""
    if not normalize_caption(text):
        return EMPTY
    if text.isprintable():
        return None
    for character in text:
        if not character.isspace() and unicodedata.category(character) in _FORBIDDEN:
            name = unicodedata.name(character, "")
            return f"holds the control character U+{ord(character):04X}{f' ({name})' if name else ''}"
    return None


def normalize_caption(text: str) -> str:
    """Return a text on one line: without format characters, and with single spaces for all white space."""
    if not text.isprintable():
        text = "".join(character for character in text if unicodedata.category(character) != _FORMAT)
    return " ".join(text.split())


def read_captions(
    path: Path | str, ids: Path | str | None = None, splits: str | Sequence[str] = (), **options: Any
) -> CaptionFile:
    """Read captions of all images of a file, or of some of them.

    Args:
        path: File of captions in any format of the package.
        ids: Text file with one image id per line, which selects images and their order. Default: all images.
        splits: Splits of Karpathy's files, which need either ``ids`` or ``splits``.
        options: Options of ``read_caption_file``.

    Raises:
        InputError: If the file is broken, a caption is empty or holds control characters, or an image or a
            split does not exist.
    """
    return select_images(read_caption_file(path, **options), ids, splits)


def read_caption_file(
    path: Path | str,
    report: Report | None = None,
    *,
    captions: bool = True,
    raw: bool = False,
    flagged: bool = True,
) -> CaptionFile:
    """Read every image of a file.

    Args:
        path: Path of the file.
        report: Called with every mistake, whose image or caption is then left out. By default the first
            mistake is raised.
        captions: Whether to read captions; ``False`` reads only the images of a COCO file, whose annotations
            may be of a different kind.
        raw: Whether captions are returned exactly as written, as the official evaluation reads them.
        flagged: Whether to include captions that VizWiz marks as rejected or prepared. Default: True.

    Raises:
        InputError: If the file is not a caption file, or has a mistake and ``report`` is not given.
    """

    def on_mistake(mistake: str) -> None:
        if report is None:
            raise InputError(f"{path}: {mistake}")
        report(f"{path}: {mistake}")

    format, entries = _table(path, on_mistake) or _entries(path, on_mistake, captions=captions)
    if not entries:
        on_mistake("holds no images")
    num_flagged = 0 if flagged else sum(caption.flagged for entry in entries for caption in entry.captions)
    file = CaptionFile(Path(path), {}, {}, format=format, num_flagged=num_flagged)
    for entry in entries:
        if entry.image_id in file.captions:
            on_mistake(f"image {entry.image_id} is duplicated")
        else:
            kept = [caption for caption in entry.captions if flagged or not caption.flagged]
            _add(file, entry._replace(captions=kept), on_mistake, raw=raw)
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
        ids: Text file with one image id per line. Default: all images.
        splits: Name or names of splits. Default: all splits, for files without splits or with ``ids``.

    Raises:
        InputError: If a split or an image does not exist, or a file with splits is given without either.
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


def _table(path: Path | str, report: Report) -> tuple[str, list[Entry]] | None:
    """Return the format and the images of a table, or ``None`` for a file that may be JSON.

    Raises:
        InputError: If it is neither.
    """
    text = read_text(path)
    if text.lstrip().startswith(("[", "{")):
        return None
    found = table_entries(text, path, report)
    if found is None and Path(path).suffix.lower() != ".json":
        raise InputError(
            f"{path}: not a caption file; must be JSON, lines of NAME#NUMBER, a tab and a caption, or CSV "
            'with a header such as "image,caption"'
        )
    return found


def _entries(path: Path | str, report: Report, *, captions: bool) -> tuple[str, list[Entry]]:
    """Recognize the format of a JSON file by its keys, and return its name and the images."""
    content = read_json(path)
    if not captions and isinstance(content, dict):
        content.pop("annotations", None)
    if isinstance(content, list):
        return "plain list", list_entries(content, report)
    if isinstance(content, dict) and isinstance(content.get("images"), list):
        images = [image for image in content["images"] if isinstance(image, dict)]
        if "annotations" not in content and any("sentences" in image for image in images):
            return "Karpathy's splits", karpathy_entries(content, report)
        nocaps = any("domain" in image or "open_images_id" in image for image in images)
        return "nocaps" if nocaps else "COCO captions", coco_entries(content, report)
    if isinstance(content, dict) and "images" not in content and not any(map(_is_nested, content.values())):
        return "plain object", object_entries(read_members(path), report)
    raise InputError(
        f'{path}: not a caption file; must be COCO\'s {{"images", "annotations"}}, Karpathy\'s {{"images"}} '
        'with "sentences", {"IMAGE_ID": ["caption", ...]} or [{"image_id", "caption"}]'
    )


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict) for v in value))


def _add(file: CaptionFile, entry: Entry, report: Report, *, raw: bool) -> None:
    """Add an image with its valid captions to a file."""
    file.file_names[entry.image_id] = entry.file_name
    captions = file.captions[entry.image_id] = []
    for caption in entry.captions:
        mistake = find_mistake(caption.text)
        if mistake == EMPTY or (mistake and not raw):
            report(f"{caption.name} of image {entry.image_id} {mistake}")
        else:
            captions.append(caption.text if raw else normalize_caption(caption.text))
    if entry.split is not None:
        file.splits[entry.image_id] = entry.split
    if entry.domain is not None:
        file.domains[entry.image_id] = entry.domain
