"""Splits of Visual Genome that keep the images of caption evaluation out of the detector's training.

About half of the images are from COCO. As for the released detector, the images of Karpathy's val split
go to val, those of his test split to test, and those of his train split to train. Other images fill val
and test at random.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np

from bua.data.genome.source import GenomeImage
from bua.errors import InputError
from bua.io.files import read_json
from bua.io.schema import Integer, records

SPLITS = ("train", "val", "test")
#: The split here for each of Karpathy's splits; restval is used for training, as in captioning.
_SPLIT_OF = {"train": "train", "restval": "train", "val": "val", "test": "test"}


@dataclass(frozen=True)
class KarpathySplits:
    """Karpathy's splits of COCO (``dataset_coco.json``).

    Attributes:
        split: "train", "val" or "test" by COCO id.
        folder: COCO folder, "train2014" or "val2014", by COCO id.
    """

    split: dict[int, str]
    folder: dict[int, str]


class _KarpathyImage(TypedDict):
    cocoid: Integer
    split: str


def read_karpathy(path: Path | str) -> KarpathySplits:
    """Read ``dataset_coco.json``.

    Raises:
        InputError: If the file is invalid, an image has no COCO id or an unknown split, or val or test
            has no images.
    """
    content = read_json(path)
    split: dict[int, str] = {}
    folder: dict[int, str] = {}
    for image in records(content, path, "images", _KarpathyImage):
        if image["split"] not in _SPLIT_OF:
            raise InputError(
                f"{path}: image {image['cocoid']}: split is {image['split']!r}, expected one of "
                f"{', '.join(_SPLIT_OF)}"
            )
        split[image["cocoid"]] = _SPLIT_OF[image["split"]]
        folder[image["cocoid"]] = str(image.get("filepath", "unknown"))
    for name in ("val", "test"):
        if name not in split.values():
            raise InputError(f"{path}: split {name} has no images, so none can be kept out of training")
    return KarpathySplits(split, folder)


def draw_splits(
    images: Mapping[int, GenomeImage], karpathy: KarpathySplits | None, *, val: int, test: int, seed: int
) -> dict[str, list[int]]:
    """Divide images into train, val and test.

    The images of Karpathy's val and test splits are always in val and test, even if they are more than
    requested. Images of his train split are drawn only when no others are left.

    Args:
        images: Images by id.
        karpathy: Karpathy's splits, or ``None`` to draw from all images.
        val: Number of images of val.
        test: Number of images of test.
        seed: Seed of the draw, which otherwise depends only on the ids.

    Returns:
        Ascending image ids by split; every image is in exactly one.

    Raises:
        InputError: If ``karpathy`` is given but no image has a COCO id, or if no image is left for train.
    """
    known = karpathy.split if karpathy else {}
    if karpathy and all(image.coco_id is None for image in images.values()):
        raise InputError(
            "image_data.json: no image has a coco_id, so captions=... cannot keep any out of training"
        )
    fixed = {n: known.get(i.coco_id) if i.coco_id is not None else None for n, i in images.items()}
    splits = {name: {n for n, split in fixed.items() if split == name} for name in SPLITS}
    rng = np.random.default_rng(seed)
    others = sorted(n for n, split in fixed.items() if split is None)
    pool = [int(n) for ids in (others, sorted(splits["train"])) for n in rng.permutation(ids)]
    for name, size in (("test", test), ("val", val)):
        missing = max(0, size - len(splits[name]))
        splits[name] |= set(pool[:missing])
        pool = pool[missing:]
    if not pool:
        raise InputError(f"val={val} test={test}: none of the {len(images)} images is left for training")
    return {"train": sorted(pool), "val": sorted(splits["val"]), "test": sorted(splits["test"])}


def count_origins(
    splits: Mapping[str, list[int]], images: Mapping[int, GenomeImage], karpathy: KarpathySplits | None
) -> dict[str, dict[str, int]]:
    """Count the images of each split by their COCO folder, including those that are not from COCO."""

    def origin(image: GenomeImage) -> str:
        if image.coco_id is None:
            return "no coco_id"
        return karpathy.folder.get(image.coco_id, "not Karpathy's") if karpathy else "coco_id"

    counted = {name: Counter(origin(images[n]) for n in ids) for name, ids in splits.items()}
    return {name: dict(sorted(counts.items())) for name, counts in counted.items()}
