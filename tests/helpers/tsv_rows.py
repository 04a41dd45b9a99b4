"""Rows of feature files in TSV, as their authors write them."""

import csv
from pathlib import Path

from bua.store import Regions
from tests.helpers.foreign_formats import to_base64


def pa_row(image: object, r: Regions) -> dict[str, object]:
    """Return a row of Anderson's format."""
    return {
        "image_id": image,
        "image_w": r.size[1],
        "image_h": r.size[0],
        "num_boxes": len(r),
        "boxes": to_base64(r.boxes),
        "features": to_base64(r.features),
    }


def lxmert_row(image: object, r: Regions) -> dict[str, object]:
    """Return a row of the format of LXMERT."""
    return {
        "img_id": image,
        "img_h": r.size[0],
        "img_w": r.size[1],
        "objects_id": to_base64(r.class_id, "<i8"),
        "objects_conf": to_base64(r.class_score),
        "attrs_id": to_base64(r.attribute_id, "<i8"),
        "attrs_conf": to_base64(r.attribute_score),
        "num_boxes": len(r),
        "boxes": to_base64(r.boxes),
        "features": to_base64(r.features),
    }


def write_table(path: Path, rows: list[dict[str, object]], header: bool = False, end: str = "\r\n") -> Path:
    """Write rows with csv.DictWriter, like the authors' code."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator=end)
        if header:
            writer.writeheader()
        writer.writerows(rows)
    return path
