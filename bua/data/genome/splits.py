"""Splits of Visual Genome that keep the images of caption evaluation out of the detector's training.

About half of the images are COCO's. As for the released detector, those of Karpathy's val split go to
val, those of his test split to test, his others to train; the rest fills val and test at random.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bua.data.genome.source import Picture
from bua.errors import InputError
from bua.io.json_file import read_json, records

SPLITS = ("train", "val", "test")
#: Karpathy's own splits; his restval is trained on with his train.
_MEANT = {"train": "train", "restval": "train", "val": "val", "test": "test"}


@dataclass(frozen=True)
class Karpathy:
    """Split and COCO folder (train2014 or val2014) of every image of ``dataset_coco.json``, by COCO id."""

    split: dict[int, str]
    folder: dict[int, str]


def read_karpathy(path: Path | str) -> Karpathy:
    """Read ``dataset_coco.json``.

    Raises:
        InputError: the file is broken, an image has no COCO id or an unknown split, or val or test
            has no image.
    """
    content = read_json(path)
    split: dict[int, str] = {}
    folder: dict[int, str] = {}
    for image in records(content, path, "images", {"cocoid": int, "split": str}):
        if image["split"] not in _MEANT:
            raise InputError(
                f"{path}: image {image['cocoid']}: split is {image['split']!r}, one of "
                f"{', '.join(_MEANT)} is needed"
            )
        split[image["cocoid"]] = _MEANT[image["split"]]
        folder[image["cocoid"]] = str(image.get("filepath", "unknown"))
    for name in ("val", "test"):
        if name not in split.values():
            raise InputError(f"{path}: it has no image of split {name}, so it can keep none out of training")
    return Karpathy(split, folder)


def draw_splits(
    pictures: Mapping[int, Picture], karpathy: Karpathy | None, *, val: int, test: int, seed: int
) -> dict[str, list[int]]:
    """Divide images into train, val and test; every image is in exactly one.

    Images of Karpathy's val and test are always in val and test, also where these are more than were
    asked for. Images of his train are drawn only when there are no others left.

    Args:
        pictures: the images by id.
        karpathy: his splits, or None to draw from all images.
        val: images of val.
        test: images of test.
        seed: of the draw, which depends on nothing else but the ids.

    Returns:
        Image ids in ascending order, by split.

    Raises:
        InputError: no image has a COCO id although ``karpathy`` is given, or nothing is left for train.
    """
    known = karpathy.split if karpathy else {}
    if karpathy and all(picture.coco_id is None for picture in pictures.values()):
        raise InputError(
            "image_data.json: no image has a coco_id, so karpathy=... can keep none of them out of training"
        )
    places = {n: known.get(p.coco_id) if p.coco_id is not None else None for n, p in pictures.items()}
    splits = {name: {n for n, place in places.items() if place == name} for name in SPLITS}
    rng = np.random.default_rng(seed)
    outside = sorted(n for n, place in places.items() if place is None)
    pool = [int(n) for ids in (outside, sorted(splits["train"])) for n in rng.permutation(ids)]
    for name, size in (("test", test), ("val", val)):
        missing = max(0, size - len(splits[name]))
        splits[name] |= set(pool[:missing])
        pool = pool[missing:]
    if not pool:
        raise InputError(f"val={val} test={test}: of {len(pictures)} images none is left to train on")
    return {"train": sorted(pool), "val": sorted(splits["val"]), "test": sorted(splits["test"])}


def origins(
    splits: Mapping[str, list[int]], pictures: Mapping[int, Picture], karpathy: Karpathy | None
) -> dict[str, dict[str, int]]:
    """Count, for every split, the images of each COCO folder and those that are not COCO's."""

    def origin(picture: Picture) -> str:
        if picture.coco_id is None:
            return "no coco_id"
        return karpathy.folder.get(picture.coco_id, "not Karpathy's") if karpathy else "coco_id"

    counted = {name: Counter(origin(pictures[n]) for n in ids) for name, ids in splits.items()}
    return {name: dict(sorted(counts.items())) for name, counts in counted.items()}
