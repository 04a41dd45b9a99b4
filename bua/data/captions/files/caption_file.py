"""The captions of one file, whatever its format, and what a caption must be."""

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from bua.errors import InputError
from bua.structures.annotations import ImageId

#: Unicode categories that no caption may hold, white space aside: control characters and lone surrogates.
_FORBIDDEN = ("Cc", "Cs")
#: Unicode category of invisible characters: joiners of emoji, soft hyphens, marks of direction.
_FORMAT = "Cf"


class CaptionText(NamedTuple):
    """A caption as it stands in a file.

    Attributes:
        name: What messages call it, such as "caption 641613".
        text: The caption, unchecked.
    """

    name: str
    text: str


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
        captions: Captions by image id, each on one line and otherwise as written; an image may have none.
        domains: Domains of the images of nocaps; empty for other files.
        splits: Splits of the images of Karpathy's files; empty for other files.
        format: Name of the format that the file was recognized as.
    """

    path: Path
    file_names: dict[ImageId, str]
    captions: dict[ImageId, list[str]]
    domains: dict[ImageId, str] = field(default_factory=dict)
    splits: dict[ImageId, str] = field(default_factory=dict)
    format: str = "captions"

    def select(self, image_ids: Iterable[ImageId]) -> "CaptionFile":
        """Return a copy with these images alone, in this order."""
        ids = list(image_ids)
        return replace(
            self,
            file_names={i: self.file_names[i] for i in ids},
            captions={i: self.captions[i] for i in ids},
            domains={i: self.domains[i] for i in ids if i in self.domains},
            splits={i: self.splits[i] for i in ids if i in self.splits},
        )

    def select_splits(self, names: Collection[str]) -> "CaptionFile":
        """Return a copy with the images of some splits alone; without names, the file as it is.

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
        """Return the splits and their numbers of images as a text."""
        return ", ".join(
            f"{name} ({count:,} images)" for name, count in Counter(self.splits.values()).items()
        )


def find_mistake(text: str) -> str | None:
    """Return what is wrong with a caption, or ``None`` if it is valid."""
    if not normalize_caption(text):
        return "is empty"
    if text.isprintable():
        return None
    for character in text:
        if not character.isspace() and unicodedata.category(character) in _FORBIDDEN:
            name = unicodedata.name(character, "")
            return f"holds the control character U+{ord(character):04X}{f' ({name})' if name else ''}"
    return None


def normalize_caption(text: str) -> str:
    """Return a text on one line, as it is displayed.

    Format characters are removed, and any run of white space, U+2028 and the like included, becomes a
    single space.
    """
    if not text.isprintable():
        text = "".join(character for character in text if unicodedata.category(character) != _FORMAT)
    return " ".join(text.split())
