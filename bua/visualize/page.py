"""A self-contained HTML page of images with their boxes, words to point at, and tables.

Pointing at a word, or moving to it with the keyboard, shows the regions that it attended to. The opacity of
a box is its attention weight, on one scale for all words of all images. All text is escaped, images are
inlined, and nothing is loaded from elsewhere.
"""

import base64
import html
import io
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bua.structures.regions import Regions
from bua.visualize.template import SCRIPT, STYLE

#: Smallest attention weight of a box that is drawn.
MIN_WEIGHT = 0.03
#: Largest weight below which attention is called diffuse: no single region was attended.
DIFFUSE = 0.2
#: Number of boxes that are drawn for a word.
MAX_BOXES = 8
#: Longest side of an image on the page, in pixels.
MAX_SIDE = 640


@dataclass(frozen=True)
class AttendedText:
    """A piece of text with its attention.

    Attributes:
        text: Word or sentence.
        weights: Attention over the regions, shape (K,).
    """

    text: str
    weights: NDArray[np.floating]


@dataclass(frozen=True)
class Row:
    """A row below an image.

    Attributes:
        label: What the row is, such as "caption".
        pieces: Texts to point at.
        remark: Text after them.
    """

    label: str
    pieces: Sequence[AttendedText]
    remark: str = ""


@dataclass(frozen=True)
class Panel:
    """An image with its regions and rows of text below.

    Attributes:
        title: Title of the panel.
        photo: Pixels of the image, (H, W, 3).
        regions: Regions of the image.
        names: What each region is called, as ``region_names`` returns it.
        rows: Rows below the image.
    """

    title: str
    photo: NDArray[np.uint8]
    regions: Regions
    names: Sequence[str]
    rows: Sequence[Row] = field(default_factory=list)


def escape(text: str) -> str:
    """Escape text for HTML, in elements and in quoted attributes."""
    return html.escape(text, quote=True)


def render_page(title: str, body: str) -> str:
    """Return a whole document.

    Args:
        title: Title, plain text.
        body: Body, HTML.
    """
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{body}</main><script>{SCRIPT}</script></body></html>\n"
    )


def render_panel(panel: Panel) -> str:
    """Return the HTML of an image with its rows."""
    height, width = panel.photo.shape[:2]
    boxes = []
    for n, (x1, y1, x2, y2) in enumerate(panel.regions.boxes.tolist()):
        boxes.append(
            f'<g class="box" data-n="{n}"><rect x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1:.1f}" '
            f'height="{y2 - y1:.1f}"/></g>'
        )
    names = escape(json.dumps(list(panel.names)))
    rows = "".join(_render_row(row) for row in panel.rows)
    return (
        f'<figure class="panel" data-names="{names}" data-size="{width},{height}">'
        f'<div class="image"><img alt="{escape(panel.title)}" src="{inline(panel.photo)}">'
        f'<svg viewBox="0 0 {width} {height}" aria-hidden="true">{"".join(boxes)}</svg></div>'
        f"<figcaption><b>{escape(panel.title)}</b>{rows}"
        '<p class="attended" aria-live="polite">&nbsp;</p></figcaption></figure>'
    )


def _render_row(row: Row) -> str:
    pieces = " ".join(_render_piece(piece) for piece in row.pieces)
    remark = f' <span class="remark">{escape(row.remark)}</span>' if row.remark else ""
    return f'<p><span class="label">{escape(row.label)}</span> {pieces}{remark}</p>'


def _render_piece(piece: AttendedText) -> str:
    order = np.argsort(-piece.weights)[:MAX_BOXES]
    drawn = {int(n): round(float(piece.weights[n]), 3) for n in order if piece.weights[n] >= MIN_WEIGHT}
    diffuse = "" if float(piece.weights.max(initial=0)) >= DIFFUSE else ' data-diffuse="1"'
    weights = escape(json.dumps(drawn))
    return f'<span class="word" tabindex="0" data-weights="{weights}"{diffuse}>{escape(piece.text)}</span>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], best: Collection[tuple[int, int]] = ()) -> str:
    """Return an HTML table.

    Args:
        head: Cells of the header.
        rows: Cells of each row.
        best: Row and column of the cells to set in bold.
    """
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = ""
    for n, row in enumerate(rows):
        styles = [' class="best"' if (n, column) in best else "" for column in range(len(row))]
        marked = zip(styles, row, strict=True)
        body += f"<tr>{''.join(f'<td{style}>{escape(cell)}</td>' for style, cell in marked)}</tr>"
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def inline(photo: NDArray[np.uint8]) -> str:
    """Return an image as a data URL, reduced to a side of at most ``MAX_SIDE`` pixels."""
    image = Image.fromarray(photo)
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def region_names(regions: Regions, class_names: Sequence[str], attribute_names: Sequence[str]) -> list[str]:
    """Return the detected class of each region, after its attribute where there is one.

    Without classes, regions are numbered: "region 1".
    """
    if regions.class_id is None or not class_names:
        return [f"region {n + 1}" for n in range(len(regions))]
    names = [class_names[n] for n in regions.class_id]
    if regions.attribute_id is not None and attribute_names:
        names = [f"{attribute_names[a]} {name}" for a, name in zip(regions.attribute_id, names, strict=True)]
    return names
