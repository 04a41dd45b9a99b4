"""What every format of captions is read into, image by image, and what a caption must be."""

import unicodedata
from typing import NamedTuple

from bua.store.reader import ImageId

#: Kinds of characters that no caption may hold, white space aside: control, half of a pair.
_FORBIDDEN = ("Cc", "Cs")
#: Kind of the characters that are not seen: joiners of emoji, soft hyphens, marks of direction.
_FORMAT = "Cf"


class CaptionText(NamedTuple):
    """A caption as it stands in a file, and what to call it there."""

    name: str
    text: str


class Entry(NamedTuple):
    """An image as a file describes it.

    Attributes:
        image_id: as the file has it.
        file_name: of the photograph.
        captions: of the image, unchecked.
        split: train, val, ...; None in formats that know no splits.
        domain: of nocaps: in-domain, near-domain or out-domain; None in other formats.
    """

    image_id: ImageId
    file_name: str
    captions: list[CaptionText]
    split: str | None = None
    domain: str | None = None


def find_mistake(text: str) -> str | None:
    """Say what is wrong with a caption, if anything is."""
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
    """Return a text on one line, as it is seen.

    Format characters are removed; any white space, U+2028 and the like too, becomes a single space.
    """
    if not text.isprintable():
        text = "".join(character for character in text if unicodedata.category(character) != _FORMAT)
    return " ".join(text.split())
