"""The HDF5 files of bottom-up-attention-vqa and, with a varying number of regions, of ban-vqa.

hengyuan-hu/bottom-up-attention-vqa (tools/detection_features_converter.py): ``image_features``
(N, 36, D), ``image_bb`` (N, 36, 4) in pixels, ``spatial_features`` (N, 36, 6): x1 / W, y1 / H, x2 / W,
y2 / H, w / W, h / H, and a separate pickle that maps image ids to rows (``train36_imgid2idx.pkl``).
jnhwkim/ban-vqa: the same three datasets for the regions of all images one after the other, and
``pos_boxes`` (N, 2), the first row of each image and the row after its last.

The files contain no image sizes; they follow from the boxes in pixels and in fractions.
"""

import pickle
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.io.write import atomic_files
from bua.store.formats.export import Export
from bua.store.formats.hdf5 import get_dataset, get_optional_dataset, open_hdf5, read_slice
from bua.store.formats.source import InvalidImageError, RawImage, Source, SourceImage
from bua.store.pickles import read_pickled
from bua.structures.annotations import ImageId
from bua.structures.regions import Regions

#: Largest deviation of boxes that are restored from fractions and the inferred size, relative to the size.
_TOLERANCE = 1e-4


def read(source: Source) -> Generator[SourceImage, None, None]:
    """Yield the images of either kind of file in the order of its rows.

    Raises:
        InputError: If the file or the pickle of its rows does not exist or is damaged.
    """
    rows = _read_index(source)
    with open_hdf5(source.file()) as file:
        adaptive = "pos_boxes" in file
        features = get_dataset(file, "image_features", (None, None) if adaptive else (None, None, None))
        leading = features.shape[:-1]
        boxes = get_optional_dataset(file, "image_bb", (*leading, 4))
        spatial = get_optional_dataset(file, "spatial_features", (*leading, 6))
        spans = get_dataset(file, "pos_boxes", (None, 2))[:].astype(int).tolist() if adaptive else None
        for name, row in sorted(rows.items(), key=lambda pair: pair[1]):
            location = f"{source.path.name} row {row}"
            yield SourceImage(name, location, partial(_read_image, features, boxes, spatial, spans, row))


def index_path(path: Path) -> Path:
    """Return the path of the pickle of a file: ``train36_imgid2idx.pkl`` belongs to ``train36.hdf5``."""
    return path.with_name(f"{path.stem}_imgid2idx.pkl")


def _read_index(source: Source) -> dict[ImageId, int]:
    path = source.index or index_path(source.path)
    if not path.is_file():
        raise InputError(f"{source.path}: needs index={path.name}, the pickle that maps image ids to rows")
    content = read_pickled(path)
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: must be a dictionary from image ids to rows")
    rows: dict[ImageId, int] = {}
    for name, row in content.items():
        if not isinstance(name, int | str) or not isinstance(row, int | np.integer) or row < 0:
            raise InputError(f"{path}: must map image ids to rows, got {name!r:.40}: {row!r:.40}")
        rows[name] = int(row)
    return rows


def _read_image(
    features: h5py.Dataset,
    boxes: h5py.Dataset | None,
    spatial: h5py.Dataset | None,
    spans: list[list[int]] | None,
    row: int,
) -> RawImage:
    rows: Any = row
    if row >= len(spans if spans is not None else features):
        raise InvalidImageError(f"the file has only {len(features if spans is None else spans)} rows")
    if spans is not None:
        start, stop = spans[row]
        if not 0 <= start < stop <= len(features):
            raise InvalidImageError(
                f"pos_boxes must be a range of the {len(features)} regions, got {start} to {stop}"
            )
        rows = slice(start, stop)
    pixels = read_slice(boxes, rows) if boxes is not None else None
    fractions = read_slice(spatial, rows) if spatial is not None else None
    size = infer_size(pixels, fractions) if pixels is not None and fractions is not None else None
    if pixels is None and fractions is not None:
        return RawImage(read_slice(features, rows), fractions[:, :4], None, normalized=True)
    return RawImage(read_slice(features, rows), pixels, size)


def infer_size(boxes: NDArray[Any], fractions: NDArray[Any]) -> tuple[int, int] | None:
    """Infer the size of an image from its boxes in pixels and in fractions.

    Args:
        boxes: Boxes x1 y1 x2 y2 in pixels, shape (n, 4).
        fractions: The same boxes as fractions of width and height, shape (n, 4) or wider.

    Returns:
        Height and width in pixels; ``None`` if all boxes end at 0.

    Raises:
        InvalidImageError: If pixels and fractions contradict each other.
    """
    boxes, fractions = boxes.astype(np.float64), fractions.astype(np.float64)
    size = []
    for far, near in ((3, 1), (2, 0)):
        longest = int(boxes[:, far].argmax())
        if boxes[longest, far] <= 0 or fractions[longest, far] <= 0:
            return None
        side = round(boxes[longest, far] / fractions[longest, far])
        ends = np.stack([boxes[:, far], boxes[:, near]])
        restored = np.stack([fractions[:, far], fractions[:, near]]) * side
        if not np.allclose(ends, restored, rtol=0, atol=_TOLERANCE * max(side, 1)):
            raise InvalidImageError("boxes in pixels and in fractions contradict each other")
        size.append(side)
    return size[0], size[1]


def spatial_features(regions: Regions) -> NDArray[np.float32]:
    """Return x1, y1, x2, y2, width and height of each box as fractions of the image, shape (n, 6)."""
    height, width = (np.float32(side) for side in regions.size)
    x1, y1, x2, y2 = regions.boxes.T
    x, y, w, h = x1 / width, y1 / height, (x2 - x1) / width, (y2 - y1) / height
    return np.stack([x, y, x + w, y + h, w, h], 1)


def write_fixed(export: Export) -> None:
    """Write a store as bottom-up-attention-vqa does.

    Raises:
        InputError: If the images have different numbers of regions.
    """
    counts = np.unique(export.store.counts())
    if len(counts) > 1:
        raise InputError(
            f"{export.out}: images have {counts[0]} to {counts[-1]} regions, but hengyuan_hdf5 needs the "
            "same number for all; use ban_hdf5"
        )
    leading = (len(export.store), int(counts[0]))
    _write(export, leading, pos_boxes=False)


def write_adaptive(export: Export) -> None:
    """Write a store as ban-vqa does."""
    _write(export, (int(export.store.counts().sum()),), pos_boxes=True)


def _write(export: Export, leading: tuple[int, ...], pos_boxes: bool) -> None:
    store, out = export.store, export.out
    export.check_free_space((store.feature_size + 10) * 4)
    with atomic_files(out, index_path(out)) as (path, index):
        with h5py.File(path, "w") as file:
            features = file.create_dataset("image_features", (*leading, store.feature_size), np.float32)
            boxes = file.create_dataset("image_bb", (*leading, 4), np.float32)
            spatial = file.create_dataset("spatial_features", (*leading, 6), np.float32)
            ends = np.cumsum(store.counts())
            if pos_boxes:
                file["pos_boxes"] = np.stack([ends - store.counts(), ends], 1).astype(np.int32)
            for n, (_, regions) in enumerate(export.images()):
                rows: Any = slice(int(ends[n]) - len(regions), int(ends[n])) if pos_boxes else n
                features[rows], boxes[rows] = regions.features, regions.boxes
                spatial[rows] = spatial_features(regions)
        with open(index, "wb") as index_file:
            pickle.dump({image: n for n, image in enumerate(store)}, index_file, protocol=2)
