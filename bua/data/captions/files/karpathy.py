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

from bua.data.captions.files.entry import CaptionText, Entry
from bua.io.json_file import Report, Types, valid_records


def entries(content: dict[str, Any], report: Report) -> list[Entry]:
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
    told: set[int] = set()
    return [
        Entry(
            image_id=image[key],
            file_name=str(PurePosixPath(image.get("filepath") or "", image["filename"])),
            captions=_captions(image["sentences"], f"image {image[key]}", told, report),
            split=image["split"],
        )
        for image in valid_records(images, "images", types, report)
    ]


def _captions(sentences: list[Any], of: str, told: set[int], report: Report) -> list[CaptionText]:
    """Return the captions of an image; ``told`` are the ids of sentences so far."""
    types: Types = {"raw": str, "sentid": (int, NoneType)}
    captions = []
    for number, sentence in enumerate(valid_records(sentences, f"{of}: sentences", types, report)):
        sentence_id = sentence.get("sentid")
        if sentence_id in told:
            report(f"{of}: sentence {sentence_id} comes twice")
        if sentence_id is not None:
            told.add(sentence_id)
        captions.append(
            CaptionText(f"sentence {number if sentence_id is None else sentence_id}", sentence["raw"])
        )
    return captions
