"""One self-contained HTML page: pictures with boxes, words to point at, tables.

Pointing at a word, or moving to it with the keyboard, shows the regions that it looked at: each
box is as opaque as its weight, on one scale for all words of all pictures. All text is escaped;
pictures are inlined; nothing is loaded from elsewhere.
"""

import base64
import html
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bua.structures.regions import Regions
from bua.visualize.template import SCRIPT, STYLE

#: Weights below this share are not drawn.
FAINT = 0.03
#: Below this largest weight no single region was looked at.
DIFFUSE = 0.2
MAX_SIDE = 640


@dataclass(frozen=True)
class AttendedText:
    """A piece of text and how much it looked at each region."""

    text: str
    weights: NDArray[np.floating]


@dataclass(frozen=True)
class Row:
    """One line under a picture: a label, the pieces to point at, and a remark behind them."""

    label: str
    pieces: Sequence[AttendedText]
    remark: str = ""


@dataclass(frozen=True)
class Panel:
    """One picture with its regions and what was said of it."""

    title: str
    photo: NDArray[np.uint8]
    regions: Regions
    names: Sequence[str]
    lines: Sequence[Row] = field(default_factory=list)


def escape(text: str) -> str:
    """Escape text for HTML, in elements and in quoted attributes."""
    return html.escape(text, quote=True)


def render_page(title: str, body: str) -> str:
    """Return a whole document around ``body``, which is HTML."""
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{body}</main><script>{SCRIPT}</script></body></html>\n"
    )


def render_panel(shown: Panel) -> str:
    """Return the HTML of one picture with its lines."""
    height, width = shown.photo.shape[:2]
    boxes = []
    for n, (x1, y1, x2, y2) in enumerate(shown.regions.boxes.tolist()):
        boxes.append(
            f'<g class="box" data-n="{n}"><rect x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1:.1f}" '
            f'height="{y2 - y1:.1f}"/></g>'
        )
    names = escape(json.dumps(list(shown.names)))
    lines = "".join(_line(line) for line in shown.lines)
    return (
        f'<figure class="exhibit" data-names="{names}" data-size="{width},{height}">'
        f'<div class="picture"><img alt="{escape(shown.title)}" src="{inline(shown.photo)}">'
        f'<svg viewBox="0 0 {width} {height}" aria-hidden="true">{"".join(boxes)}</svg></div>'
        f"<figcaption><b>{escape(shown.title)}</b>{lines}"
        '<p class="seen" aria-live="polite">&nbsp;</p></figcaption></figure>'
    )


def _line(line: Row) -> str:
    pieces = " ".join(_piece(piece) for piece in line.pieces)
    remark = f' <span class="remark">{escape(line.remark)}</span>' if line.remark else ""
    return f'<p><span class="label">{escape(line.label)}</span> {pieces}{remark}</p>'


def _piece(piece: AttendedText) -> str:
    order = np.argsort(-piece.weights)[:8]
    shown = {int(n): round(float(piece.weights[n]), 3) for n in order if piece.weights[n] >= FAINT}
    diffuse = "" if float(piece.weights.max(initial=0)) >= DIFFUSE else ' data-diffuse="1"'
    weights = escape(json.dumps(shown))
    return f'<span class="word" tabindex="0" data-weights="{weights}"{diffuse}>{escape(piece.text)}</span>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], best: Sequence[int] = ()) -> str:
    """Return an HTML table; rows listed in ``best`` are set in bold."""
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = ""
    for n, row in enumerate(rows):
        style = ' class="best"' if n in best else ""
        body += f"<tr{style}>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def inline(photo: NDArray[np.uint8]) -> str:
    """Return pixels as a data address, no larger than is useful on a page."""
    image = Image.fromarray(photo)
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def region_names(regions: Regions, class_names: Sequence[str], attribute_names: Sequence[str]) -> list[str]:
    """Return what the detector calls each region, with its attribute where it has one."""
    if regions.class_id is None or not class_names:
        return [f"region {n + 1}" for n in range(len(regions))]
    names = [class_names[n] for n in regions.class_id]
    if regions.attribute_id is not None and attribute_names:
        names = [f"{attribute_names[a]} {name}" for a, name in zip(regions.attribute_id, names, strict=True)]
    return names
