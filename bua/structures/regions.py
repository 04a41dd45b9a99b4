"""``Regions``: the regions that a detector found in one image, as plain arrays.

Shapes: K regions of the image, D region features.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError

#: Types of the optional arrays, which have one number per region.
OPTIONAL = {
    "class_id": np.int32,
    "class_score": np.float32,
    "attribute_id": np.int32,
    "attribute_score": np.float32,
}


@dataclass(frozen=True)
class Regions:
    """The regions of one image.

    Attributes:
        features: Region features, shape (K, D), float16 or float32, finite.
        boxes: Corners x1 y1 x2 y2 in pixels of the image after EXIF rotation, shape (K, 4), float32.
        size: Height and width of that image in pixels.
        class_id: Positions in the detector's class names, without the background, shape (K,).
        class_score: Class probabilities, 0 to 1, shape (K,).
        attribute_id: Positions in the detector's attribute names, shape (K,).
        attribute_score: Attribute probabilities, 0 to 1, shape (K,).
    """

    features: NDArray[np.floating]
    boxes: NDArray[np.float32]
    size: tuple[int, int]
    class_id: NDArray[np.int32] | None = None
    class_score: NDArray[np.float32] | None = None
    attribute_id: NDArray[np.int32] | None = None
    attribute_score: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays that are present, by their names in the store."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "size"}
        return {name: array for name, array in named.items() if array is not None}

    def equals(self, other: "Regions") -> bool:
        """Return whether both have the same image size, the same arrays and equal values.

        Features of different types are compared in the lower precision, so a float16 copy of float32 features
        is equal to them.
        """
        arrays, other_arrays = self.arrays(), other.arrays()
        if self.size != other.size or arrays.keys() != other_arrays.keys():
            return False
        dtype: Any = min(self.features.dtype, other.features.dtype, key=lambda dtype: dtype.itemsize)
        with np.errstate(over="ignore"):
            arrays["features"] = self.features.astype(dtype)
            other_arrays["features"] = other.features.astype(dtype)
        return all(np.array_equal(arrays[name], other_arrays[name]) for name in arrays)

    def check(self, image_id: int | str) -> None:
        """Raise ``InputError`` naming ``image_id`` unless shapes match and numbers are finite."""
        count = len(self.boxes)
        if count == 0:
            raise InputError(f"image {image_id} has no regions; at least one is needed")
        if self.boxes.shape != (count, 4):
            raise InputError(f"image {image_id}: boxes are {self.boxes.shape}, not ({count}, 4)")
        for name, array in self.arrays().items():
            if len(array) != count:
                raise InputError(f"image {image_id}: {len(array)} {name} for {count} boxes")
        if self.features.ndim != 2:
            raise InputError(f"image {image_id}: features have {self.features.ndim} dimensions, not 2")
        for name in ("features", "boxes"):
            if not np.isfinite(getattr(self, name)).all():
                raise InputError(f"image {image_id}: {name} are not all finite")
