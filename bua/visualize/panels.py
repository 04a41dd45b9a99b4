"""Captions and answers as panels of an attention page."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bua.inference.predictor import CaptionOutput, Predictor, VQAOutput
from bua.io.write import write_text
from bua.visualize.page import AttendedText, Panel, Row, region_names, render_page, render_panel

log = logging.getLogger(__name__)

_LEAD = (
    '<p class="lead">Point at a word to see which regions the model attended to: the more opaque a box, the '
    "larger its weight. Attention shows what the model read, not why it chose the word.</p>"
)


def caption_panel(title: str, photo: NDArray[np.uint8], output: CaptionOutput, predictor: Predictor) -> Panel:
    """Return a panel of an image and its caption, whose words can be pointed at.

    Args:
        title: Title of the panel.
        photo: Pixels of the image, (H, W, 3).
        output: Captions of the image.
        predictor: Captioner, whose detector names the regions.
    """
    words = [
        AttendedText(word, weights) for word, weights in zip(output.words, output.attention, strict=True)
    ]
    detector = predictor.detector
    names = region_names(output.regions, detector.class_names, detector.attribute_names)
    return Panel(title, photo, output.regions, names, [Row("caption", words)])


def vqa_panel(
    title: str, photo: NDArray[np.uint8], question: str, output: VQAOutput, predictor: Predictor
) -> Panel:
    """Return a panel of an image, a question that can be pointed at, and its answer.

    Args:
        title: Title of the panel.
        photo: Pixels of the image, (H, W, 3).
        question: Question in words.
        output: Answer to the question.
        predictor: VQA model, whose detector names the regions.
    """
    detector = predictor.detector
    names = region_names(output.regions, detector.class_names, detector.attribute_names)
    text = [AttendedText(question, output.attention)]
    row = Row("question", text, f"→ {output.text} ({output.score:.2f})")
    return Panel(title, photo, output.regions, names, [row])


def write_gallery(path: Path, title: str, panels: Sequence[Panel]) -> None:
    """Write a page of panels.

    Args:
        path: HTML file to write.
        title: Title of the page.
        panels: Panels, in order.
    """
    gallery = "".join(render_panel(panel) for panel in panels)
    write_text(path, render_page(title, f'<h1>{title}</h1>{_LEAD}<div class="gallery">{gallery}</div>'))
    log.info(f"{path}: {len(panels)} images")
