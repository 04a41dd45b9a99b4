"""Karpathy's ``dataset_coco.json``, ``dataset_flickr8k.json`` and ``dataset_flickr30k.json``.

::

    {"images": [{"filepath": "val2014", "filename": "COCO_val2014_000000391895.jpg", "imgid": 0,
                 "cocoid": 391895, "split": "test",
                 "sentences": [{"raw": "A man on a bike.", "tokens": [...], "sentid": 770337}, ...]}, ...]}

The splits are train, restval, val and test; what is called Karpathy's train is train with restval. The
files of Flickr8k and Flickr30k have no ``cocoid`` and no ``filepath``. An image is named by its
``cocoid``, or by its ``imgid`` in files that have none. The ``tokens`` are what the tokeniser
``karpathy`` makes of ``raw`` and are not read.
"""

from pathlib import PurePosixPath
from types import NoneType
from typing import Any

from bua.data.caption_files.entry import Caption, Entry
from bua.json_file import Tell, Types, sound_records


def entries(content: dict[str, Any], tell: Tell) -> list[Entry]:
    """Return the images of a file of Karpathy's with their captions, and tell of what is broken."""
    images = content["images"]
    key = "cocoid" if any("cocoid" in image for image in images if isinstance(image, dict)) else "imgid"
    types: Types = {
        key: int,
        "filename": str,
        "filepath": (str, NoneType),
        "split": str,
        "sentences": list,
    }
    return [
        Entry(
            image_id=image[key],
            file_name=str(PurePosixPath(image.get("filepath") or "", image["filename"])),
            captions=[
                Caption(f"sentence {sentence.get('sentid', number)}", sentence["raw"])
                for number, sentence in enumerate(
                    sound_records(image["sentences"], f"image {image[key]}: sentences", {"raw": str}, tell)
                )
            ],
            split=image["split"],
        )
        for image in sound_records(images, "images", types, tell)
    ]
