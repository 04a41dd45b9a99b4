"""Small caption files in the formats of COCO and of Karpathy."""

from pathlib import Path
from typing import Any

from tests.helpers.data import caption_data, write_json
from tests.helpers.stores import regions, write_store

IMAGE = {"id": 1, "file_name": "a.jpg"}
CAPTION = {"id": 10, "image_id": 1, "caption": "a cat"}
SENTENCE = {"raw": "A cat.", "tokens": ["a", "cat"], "sentid": 7}
#: An image of a file in Karpathy's format.
KARPATHY_IMAGE = {"cocoid": 1, "imgid": 0, "filename": "a.jpg", "split": "train", "sentences": [SENTENCE]}

#: Ids of the images of ``karpathy_file`` that have captions.
IDS = [10, 11, 12, 13, 14]
#: Names that a store may give these images.
NAMES = [
    [f"photos/{n}_a.jpg" for n in range(5)],
    [f"{n}_a.jpg" for n in range(5)],
    [f"photos/{n}_a" for n in range(5)],
    [f"{n}_a" for n in range(5)],
]


def coco_captions(**changes: object) -> dict[str, object]:
    """Return the content of a COCO file of one image with one caption."""
    return {"images": [IMAGE], "annotations": [CAPTION]} | changes


def karpathy_file(folder: Path, key: str = "imgid") -> str:
    """Write five images with a word that all share and a word of their split, and one without captions."""
    images = [
        {
            key: image_id,
            "filename": f"{n}_a.jpg",
            "filepath": "photos",
            "split": split,
            "sentences": [SENTENCE | {"raw": f"a {split}", "sentid": n}],
        }
        for n, (image_id, split) in enumerate(
            zip(IDS, ("train", "train", "restval", "val", "test"), strict=True)
        )
    ]
    images.append({key: 90, "filename": "90_a.jpg", "split": "train", "sentences": []})
    return write_json(folder, {"images": images})


def karpathy_data(folder: Path, names: list[Any], **options: object):
    """Return a DataModule of ``karpathy_file`` whose store gives its images these names."""
    features = write_store(folder / "f.h5", {name: regions(3 + n) for n, name in enumerate(names)})
    path = karpathy_file(folder)
    splits = {"train_splits": ["train", "restval"], "val_splits": "val"}
    return caption_data(folder, features=str(features), train=path, val=path, **splits, **options)
