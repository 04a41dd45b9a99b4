"""Images of annotations in a feature store: matching their ids, and loading their regions.

Annotations and stores name the same image differently: as the number 42, as the text "42" or
"000000000042", or as "val2014/000000000042.jpg". An image of the annotations is matched with the image of
the store that has the same id; failing that, with the only one that has the same file name, regardless of its
extension, or the same number, provided that their folders agree if both have one.

Shapes: B images, K regions (padded), D region features.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from bua.errors import InputError, check_number
from bua.io.files import read_text
from bua.store.reader import FeatureStore, PaddedRegions
from bua.structures.annotations import ImageId
from bua.structures.region_batch import RegionBatch

Folders = tuple[str, ...]


def read_ids(path: Path | str) -> list[ImageId]:
    """Read image ids, one per line; they become integers if all of them look like integers.

    Raises:
        InputError: If the file does not exist or contains no ids, or an id is duplicated.
    """
    words = [word for line in read_text(path).splitlines() if (word := line.strip())]
    if not words:
        raise InputError(f"{path}: contains no image ids; one per line is expected")
    ids: list[ImageId] = [int(w) for w in words] if all(w.isdecimal() for w in words) else list(words)
    seen: set[ImageId] = set()
    for image_id in ids:
        if image_id in seen:
            raise InputError(f"{path}: image {image_id} is duplicated")
        seen.add(image_id)
    return ids


def find_images(
    names: Mapping[ImageId, ImageId], store: FeatureStore
) -> tuple[dict[ImageId, ImageId], list[ImageId]]:
    """Match images with those of a store.

    Args:
        names: What names each image in the store, by its id in the annotations.
        store: Feature store.

    Returns:
        Ids in the store by ids in the annotations, and the ids in the annotations that have no match or
        more than one.
    """
    found: dict[ImageId, ImageId] = {}
    missing: list[ImageId] = []
    index: _NameIndex | None = None
    for image_id, name in names.items():
        if name in store:
            found[image_id] = name
            continue
        index = index or _NameIndex(store)
        stored = index.find(name)
        if stored is None:
            missing.append(image_id)
        else:
            found[image_id] = stored
    return found, missing


def match_images(
    names: Mapping[ImageId, ImageId], store: FeatureStore, source: str
) -> dict[ImageId, ImageId]:
    """Return the ids in a store by ids in the annotations.

    Args:
        names: What names each image in the store, by its id in the annotations.
        store: Feature store.
        source: File of the annotations, for messages.

    Raises:
        InputError: If the store lacks images, or one of its images matches two of the annotations.
    """
    found, missing = find_images(names, store)
    store.require_images([*found.values(), *(names[image_id] for image_id in missing)], source)
    for line in store.duplicate_claims(found, source):
        raise InputError(line)
    return found


class _NameIndex:
    """The images of a store by file name without extension, and by number without leading zeros."""

    def __init__(self, image_ids: Iterable[ImageId]) -> None:
        self._images: dict[tuple[Any, str | None], list[tuple[Folders, ImageId]]] = defaultdict(list)
        for image_id in image_ids:
            folders, stem = _split_path(image_id)
            for name in _name_and_number(stem):
                self._images[name, None].append((folders, image_id))
                self._images[name, folders[-1] if folders else ""].append((folders, image_id))

    def find(self, image_id: ImageId) -> ImageId | None:
        """Return the only image that matches, preferring names to numbers, or ``None``."""
        folders, stem = _split_path(image_id)
        for name in _name_and_number(stem):
            parents = [folders[-1], ""] if folders else [None]
            candidates = [one for parent in parents for one in self._images.get((name, parent), ())]
            exact = [stored for other, stored in candidates if other == folders]
            matching = exact or [stored for other, stored in candidates if _agree(other, folders)]
            if matching:
                return matching[0] if len(matching) == 1 else None
        return None


def _split_path(image_id: ImageId) -> tuple[Folders, str]:
    """Return the folders of an image, and its file name without extension."""
    path = PurePosixPath(str(image_id))
    return path.parts[:-1], path.stem


def _name_and_number(stem: str) -> list[Any]:
    """Return a name, and the number that it is if it is one."""
    return [stem, int(stem)] if stem.isdecimal() else [stem]


def _agree(one: Folders, other: Folders) -> bool:
    """Return whether one of two folder paths is empty or a suffix of the other."""
    shared = min(len(one), len(other))
    return not shared or one[-shared:] == other[-shared:]


#: Number of values that ``geometry`` computes for each region.
GEOMETRY_SIZE = 5


@dataclass(frozen=True)
class RegionInput:
    """Conversion of stored regions to the input of a model; recorded in checkpoints.

    Attributes:
        geometry: Scale of the box corners and the area that are appended to every feature, or ``None``
            to append nothing. The features of a detector are often about ten times as large as relative
            coordinates, and a model ignores unscaled ones.

    Raises:
        ValueError: If the scale is not a number above 0.
    """

    geometry: float | None

    def __post_init__(self) -> None:
        if self.geometry is not None:
            check_number("geometry", self.geometry, without=0)

    def feature_size(self, stored_size: int) -> int:
        """Return the feature size of a model for features of ``stored_size`` in the store."""
        return stored_size + (GEOMETRY_SIZE if self.geometry is not None else 0)

    def load(self, store: FeatureStore, image_ids: Sequence[ImageId]) -> RegionBatch:
        """Read and convert the regions of a batch of images; see ``read`` and ``convert``."""
        return self.convert(self.read(store, image_ids))

    def convert(self, regions: RegionBatch) -> RegionBatch:
        """Return the input of a model: features in single precision, with the geometry if there is one."""
        features = regions.features.float()
        if self.geometry is not None:
            features = torch.cat([features, self.geometry * with_area(regions.boxes)], -1)
        return regions._replace(features=features)

    @staticmethod
    def read(store: FeatureStore, image_ids: Sequence[ImageId]) -> RegionBatch:
        """Read the regions of a batch of images, with features in the type of the store.

        Args:
            store: Feature store.
            image_ids: Ids in the store; an image may occur several times and is then read once.

        Raises:
            InputError: If features or boxes of an image are not finite.
        """
        distinct = {image_id: n for n, image_id in enumerate(dict.fromkeys(image_ids))}
        repeated = 2 * len(distinct) <= len(image_ids)  # several questions per image
        regions = to_relative(store.padded(list(distinct) if repeated else image_ids))
        if repeated:
            rows = torch.tensor([distinct[image_id] for image_id in image_ids])
            regions = RegionBatch(*(part[rows] for part in regions))
        if not (_is_finite(regions.features) and _is_finite(regions.boxes)):  # usually, one check suffices
            for image_id, features, boxes in zip(image_ids, regions.features, regions.boxes, strict=True):
                if not (features.isfinite().all() and boxes.isfinite().all()):
                    raise InputError(
                        f"{store.path}: features or boxes of image {image_id!r} are not all finite; run "
                        "bua features check on it"
                    )
        return regions


def to_relative(padded: PaddedRegions) -> RegionBatch:
    """Return padded regions as tensors, with boxes relative to the image and features as they are."""
    scale = torch.from_numpy(padded.size).flip(1).repeat(1, 2).unsqueeze(1)
    boxes = torch.from_numpy(padded.boxes)
    features, mask = torch.from_numpy(padded.features), torch.from_numpy(padded.mask)
    return RegionBatch(features, mask, boxes / scale.to(boxes))


def with_area(corners: Float[Tensor, "B K 4"]) -> Float[Tensor, "B K 5"]:
    """Append the areas of boxes to their corners x1 y1 x2 y2, both relative to the image."""
    area = (corners[..., 2] - corners[..., 0]) * (corners[..., 3] - corners[..., 1])
    return torch.cat([corners, area.unsqueeze(-1)], -1)


def _is_finite(values: Tensor) -> bool:
    """Return whether all values are finite; the smallest or largest is NaN if any value is."""
    return not values.numel() or bool(torch.stack(torch.aminmax(values)).isfinite().all())
