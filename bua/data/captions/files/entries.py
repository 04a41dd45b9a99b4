"""The images of a caption file as the file describes them, before their captions are checked."""

from typing import NamedTuple

from bua.structures.annotations import ImageId


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
