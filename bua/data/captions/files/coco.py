"""COCO captions and nocaps.

::

    {"images": [{"id": 42, "file_name": "000000000042.jpg"}, ...],
     "annotations": [{"id": 641613, "image_id": 42, "caption": "A cat on a bed."}, ...]}

The images of nocaps also have a ``domain`` and an ``open_images_id``; files of images alone, as for a
test split, have no ``annotations``.
"""

from types import NoneType
from typing import Any

from bua.data.captions.files.entry import CaptionText, Entry
from bua.io.json_file import Report, Types, valid_records
from bua.store.reader import ImageId

_IMAGE: Types = {"id": (int, str), "file_name": (str, NoneType), "domain": (str, NoneType)}
_ANNOTATION: Types = {"id": (int, str), "image_id": (int, str), "caption": str}


def entries(content: dict[str, Any], report: Report) -> list[Entry]:
    """Return the images of a COCO file with their captions, and tell of what is broken."""
    images = valid_records(content["images"], "images", _IMAGE, report)
    captions: dict[ImageId, list[CaptionText]] = {image["id"]: [] for image in images}
    annotations = content.get("annotations", [])
    if not isinstance(annotations, list):
        report(f"annotations is {annotations!r:.80}, a list is needed")
        annotations = []
    seen: set[ImageId] = set()
    for annotation in valid_records(annotations, "annotations", _ANNOTATION, report):
        caption_id, image_id = annotation["id"], annotation["image_id"]
        if caption_id in seen:
            report(f"caption {caption_id} comes twice")
        elif image_id not in captions:
            report(f"caption {caption_id} is about image {image_id}, which is not in images")
        else:
            captions[image_id].append(CaptionText(f"caption {caption_id}", annotation["caption"]))
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
