"""How the regions of a feature store become the input of a model.

Shapes: B images, K regions (padded), D region features.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bua.errors import InputError
from bua.store.reader import FeatureStore, PaddedRegions
from bua.structures.annotations import ImageId
from bua.structures.region_batch import RegionBatch

#: Numbers that ``geometry`` gives each region.
GEOMETRY_SIZE = 5


class RegionInput(NamedTuple):
    """How the regions of a store become the input of a model; a checkpoint remembers it.

    Attributes:
        geometry: Scale of the box corners and the area that are appended to every feature, or ``None``
            to append nothing. The features of a detector are often some ten times as large as
            coordinates relative to the image, and a model overlooks what is not scaled.
    """

    geometry: float | None

    def feature_size(self, stored_size: int) -> int:
        """Return the feature size of a model for features of ``stored_size`` in the store."""
        return stored_size + (GEOMETRY_SIZE if self.geometry is not None else 0)

    def to_batch(self, padded: PaddedRegions) -> RegionBatch:
        """Return features in single precision, their mask, and boxes relative to the image."""
        features = torch.from_numpy(padded.features).float()
        relative = geometry(torch.from_numpy(padded.boxes), torch.from_numpy(padded.size))
        if self.geometry is not None:
            features = torch.cat([features, self.geometry * relative], -1)
        return RegionBatch(features, torch.from_numpy(padded.mask), relative[..., :4])

    def load(self, store: FeatureStore, image_ids: Sequence[ImageId]) -> RegionBatch:
        """Read the regions of a batch of images.

        Args:
            store: Feature store.
            image_ids: Ids in the store; an image may occur several times and is then read once.

        Raises:
            InputError: If features or boxes of an image are not finite.
        """
        distinct = {image_id: n for n, image_id in enumerate(dict.fromkeys(image_ids))}
        repeated = 2 * len(distinct) <= len(image_ids)  # several questions about each image
        regions = self.to_batch(store.padded(list(distinct) if repeated else image_ids))
        if repeated:
            rows = torch.tensor([distinct[image_id] for image_id in image_ids])
            regions = RegionBatch(*(part[rows] for part in regions))
        if not (regions.features.sum() + regions.boxes.sum()).isfinite():  # one pass finds most batches fine
            for image_id, features, boxes in zip(image_ids, regions.features, regions.boxes, strict=True):
                if not (features.isfinite().all() and boxes.isfinite().all()):
                    raise InputError(
                        f"{store.path}: features or boxes of image {image_id!r} are not all finite; run "
                        "bua features check on it"
                    )
        return regions


def geometry(boxes: Float[Tensor, "B K 4"], size: Int[Tensor, "B 2"]) -> Float[Tensor, "B K 5"]:
    """Return the corners x1 y1 x2 y2 and the area of boxes, relative to the image.

    Args:
        boxes: Corners x1 y1 x2 y2 in pixels.
        size: Height and width of the images in pixels.
    """
    scale = size.flip(1).repeat(1, 2).unsqueeze(1).to(boxes)
    corners = boxes / scale
    area = (corners[..., 2] - corners[..., 0]) * (corners[..., 3] - corners[..., 1])
    return torch.cat([corners, area.unsqueeze(-1)], -1)
