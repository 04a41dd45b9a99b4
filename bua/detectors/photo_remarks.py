"""Remarks about images that are used, although something about their decoding is worth knowing."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

#: Kinds of remarks, with what a line says after the number of images.
KINDS = {
    "decoder": "decoded although the decoder complained",
    "gray": "with grays of more than 8 bits, of which (nearly) one is left; stretch_gray=true of bua extract "
    "spreads them",
    "clipped": "with grays outside 0 to 65,535, which were clipped; stretch_gray=true of bua extract keeps "
    "them",
    "transparent": "of (nearly) one color when laid over white, although the file has more",
}
#: Number of images that a line names.
NAMED_IMAGES = 3


class Remark(NamedTuple):
    """A remark about one image.

    Attributes:
        kind: One of ``KINDS``.
        detail: What exactly is the case, such as the message of a decoder.
    """

    kind: str
    detail: str


def decoder_remark(messages: list[str]) -> Remark:
    """Return the remark about an image whose decoder complained with some messages, at least one."""
    more = f", and {len(messages) - 1:,} more messages" if len(messages) > 1 else ""
    return Remark("decoder", f"{messages[0].rstrip('.'):.100}{more}")


def describe_remarks(named: Iterable[tuple[str, Remark]]) -> Iterator[str]:
    """Yield a line for each kind of remark: the number of images, and the names of the first.

    Args:
        named: Remarks about any number of images, each with the name of the image.
    """
    by_kind: dict[str, list[str]] = {}
    for name, remark in named:
        by_kind.setdefault(remark.kind, []).append(f"{name} ({remark.detail})")
    for kind, texts in by_kind.items():
        others = len(texts) - NAMED_IMAGES
        more = f" and {others:,} others" if others > 0 else ""
        noun = "image" if len(texts) == 1 else "images"
        yield f"{len(texts):,} {noun} {KINDS[kind]}: {', '.join(texts[:NAMED_IMAGES])}{more}"
