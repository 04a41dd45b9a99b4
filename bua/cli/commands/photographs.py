"""What ``bua caption`` and ``bua ask`` share: going through photographs, and the page."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bua.detectors.detector import Photo
from bua.detectors.photo import read_photo
from bua.detectors.photos import find_photos
from bua.errors import InputError
from bua.io.atomic import write_text
from bua.visualize.page import Panel, render_page, render_panel


def each_photo(config: Any, command: str) -> Iterator[tuple[str, Photo]]:
    """Decode photographs one by one; an unreadable one among several is told and passed over.

    Raises:
        InputError: the only photograph, or every one, cannot be read.
    """
    files = find_photos(config.images, config.root)
    read = 0
    for file in files:
        try:
            photo = read_photo(file.path)
        except InputError as error:
            if len(files) == 1:
                raise
            print(f"bua {command}: {error}", file=sys.stderr)
            continue
        read += 1
        yield file.path.name, photo
    if not read:
        raise InputError(f"{config.images}: none of its {len(files)} photographs can be read")


def write_page(path: Path, title: str, exhibits: list[Panel]) -> None:
    """Write a page of pictures."""
    lead = (
        '<p class="lead">Point at a word to see where the model looked: the more opaque a box, the '
        "more weight it had. Attention shows what was read, not why it was said.</p>"
    )
    gallery = "".join(render_panel(shown) for shown in exhibits)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, render_page(title, f'<h1>{title}</h1>{lead}<div class="gallery">{gallery}</div>'))
    print(f"{path}: {len(exhibits)} pictures", file=sys.stderr)
