"""Reading the captions of one file in any format (see the package), and validating them.

One pass over a file finds every mistake in it. Readers for training stop at the first; the validator
(``check``) lists them all.
"""

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from types import NoneType
from typing import Any, NamedTuple

from bua.data.image_lookup import read_ids
from bua.errors import InputError
from bua.io.files import Report, Types, read_json, read_members, valid_records
from bua.structures.annotations import ImageId

#: Unicode categories that no caption may hold, white space aside: control characters and lone surrogates.
_FORBIDDEN = ("Cc", "Cs")
#: Unicode category of invisible characters: joiners of emoji, soft hyphens, marks of direction.
_FORMAT = "Cf"
#: What is wrong with a caption without a visible character.
EMPTY = "is empty"


class CaptionText(NamedTuple):
    """A caption as it is written in a file.

    Attributes:
        name: Name in messages, such as "caption 641613".
        text: The caption, unchecked.
        flagged: Whether VizWiz marks it as rejected or prepared.
    """

    name: str
    text: str
    flagged: bool = False


class Entry(NamedTuple):
    """An image as a file describes it.

    Attributes:
        image_id: Id of the image in the file.
        file_name: Name of the image file.
        captions: Captions of the image, unchecked.
        split: Split such as train or val; ``None`` in formats without splits.
        domain: Domain in nocaps (in-domain, near-domain or out-domain); ``None`` in other formats.
    """

    image_id: ImageId
    file_name: str
    captions: list[CaptionText]
    split: str | None = None
    domain: str | None = None


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
                f"{self.path}: has no splits, as its format is {self.format}; leave out {unknown[0]!r}"
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
        path: COCO captions, nocaps, one of Karpathy's files, or plain JSON.
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

    content = read_json(path)
    if not captions and isinstance(content, dict):
        content.pop("annotations", None)
    format, entries = _entries(content, path, on_mistake)
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


def _entries(content: Any, path: Path | str, report: Report) -> tuple[str, list[Entry]]:
    """Recognize the format by its keys, and return its name and the images."""
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


_IMAGE: Types = {"id": (int, str), "file_name": (str, NoneType), "domain": (str, NoneType)}
_ANNOTATION: Types = {"id": (int, str), "image_id": (int, str), "caption": str}
_SENTENCE: Types = {"raw": str, "sentid": (int, NoneType)}


def coco_entries(content: dict[str, Any], report: Report) -> list[Entry]:
    """Return the images of a file of COCO or nocaps with their captions, reporting every mistake."""
    images = valid_records(content["images"], "images", _IMAGE, report)
    captions: dict[ImageId, list[CaptionText]] = {image["id"]: [] for image in images}
    annotations = content.get("annotations", [])
    if not isinstance(annotations, list):
        report(f"annotations must be a list, not {annotations!r:.80}")
        annotations = []
    seen: set[ImageId] = set()
    for annotation in valid_records(annotations, "annotations", _ANNOTATION, report):
        caption_id, image_id = annotation["id"], annotation["image_id"]
        if caption_id in seen:
            report(f"caption {caption_id} is duplicated")
        elif image_id not in captions:
            report(f"caption {caption_id} refers to image {image_id}, which is not in images")
        else:
            is_flagged = annotation.get("is_rejected") is True or annotation.get("is_precanned") is True
            captions[image_id].append(CaptionText(f"caption {caption_id}", annotation["caption"], is_flagged))
        seen.add(caption_id)
    return [
        Entry(
            image_id=image["id"],
            file_name=image.get("file_name") or str(image["id"]),
            captions=captions[image["id"]],
            domain=image.get("domain"),
        )
        for image in images
    ]


def karpathy_entries(content: dict[str, Any], report: Report) -> list[Entry]:
    """Return the images of one of Karpathy's files with their captions, reporting every mistake."""
    images = content["images"]
    key = "cocoid" if any("cocoid" in image for image in images if isinstance(image, dict)) else "imgid"
    types: Types = {
        key: int,
        "filename": str,
        "filepath": (str, NoneType),
        "split": str,
        "sentences": list,
    }
    seen: set[int] = set()
    return [
        Entry(
            image_id=image[key],
            file_name=str(PurePosixPath(image.get("filepath") or "", image["filename"])),
            captions=_sentences(image["sentences"], f"image {image[key]}", seen, report),
            split=image["split"],
        )
        for image in valid_records(images, "images", types, report)
    ]


def _sentences(sentences: list[Any], image: str, seen: set[int], report: Report) -> list[CaptionText]:
    """Return the captions of an image; ``seen`` collects the ids of all sentences of the file."""
    captions = []
    for number, sentence in enumerate(valid_records(sentences, f"{image}: sentences", _SENTENCE, report)):
        sentence_id = sentence.get("sentid")
        if sentence_id in seen:
            report(f"{image}: sentence {sentence_id} is duplicated")
        if sentence_id is not None:
            seen.add(sentence_id)
        name = f"sentence {number if sentence_id is None else sentence_id}"
        captions.append(CaptionText(name, sentence["raw"]))
    return captions


def object_entries(members: list[tuple[str, Any]], report: Report) -> list[Entry]:
    """Return the images of a plain JSON object; ids are numbers if all of them look like numbers."""
    numbers = all(name.isdecimal() for name, _ in members)
    entries = []
    for name, value in members:
        texts = _texts(value)
        if texts is None:
            report(f"image {name}: {value!r:.80} is neither a caption nor a list of captions")
            continue
        captions = [CaptionText(f"caption {n}", text) for n, text in enumerate(texts, 1)]
        entries.append(Entry(int(name) if numbers else name, name, captions))
    return entries


def list_entries(records: list[Any], report: Report) -> list[Entry]:
    """Return the images of a plain JSON list; entries of one caption each may share an image."""
    entries: list[Entry] = []
    shared: dict[ImageId, Entry] = {}
    for position, record in enumerate(records):
        if mistake := _mistake_in_record(record):
            report(f"entry {position}{mistake}")
            continue
        image_id = record.get("image_id", record.get("image"))
        file_name = record.get("image", str(image_id))
        value = record.get("captions", record.get("caption"))
        if isinstance(value, list):
            captions = [CaptionText(f"caption {n}", text) for n, text in enumerate(value, 1)]
            entries.append(Entry(image_id, file_name, captions))
        else:
            if image_id not in shared:
                shared[image_id] = Entry(image_id, file_name, [])
                entries.append(shared[image_id])
            shared[image_id].captions.append(CaptionText(f"entry {position}", value))
    return entries


def _mistake_in_record(record: Any) -> str | None:
    """Return what is wrong with an entry of a plain list, to follow its position, if anything is."""
    if not isinstance(record, dict):
        return " is not an object"
    image_id = record.get("image_id", record.get("image"))
    valid_id = isinstance(image_id, int | str) and not isinstance(image_id, bool)
    if not valid_id or not isinstance(record.get("image", str(image_id)), str):
        return ': needs an "image_id", or the name of the image file as "image"'
    if "caption" in record and "captions" in record:
        return f' (image {image_id}): must have either "caption" or "captions", not both'
    value = record.get("captions", record.get("caption"))
    if _texts(value) is None:
        return f' (image {image_id}): needs a "caption" or a list of "captions", not {value!r:.80}'
    return None


def _texts(value: Any) -> list[str] | None:
    """Return a string or a list of strings as a list, and ``None`` for anything else."""
    texts = [value] if isinstance(value, str) else value
    return texts if isinstance(texts, list) and all(isinstance(text, str) for text in texts) else None
