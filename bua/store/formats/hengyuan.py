"""The HDF5 files of bottom-up-attention-vqa and, for images of different counts, of ban-vqa.

hengyuan-hu/bottom-up-attention-vqa (tools/detection_features_converter.py): ``image_features``
(N, 36, D), ``image_bb`` (N, 36, 4) in pixels, ``spatial_features`` (N, 36, 6): x1 / W, y1 / H, x2 / W,
y2 / H, w / W, h / H, and beside it a pickle that gives each image id its row
(``train36_imgid2idx.pkl``). jnhwkim/ban-vqa: the same three without the first dimension, and
``pos_boxes`` (N, 2): first row and the row behind the last of an image.

Sizes are not written; they follow from boxes in pixels and in fractions.
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
from bua.store.formats.export import Export, new_files
from bua.store.formats.hdf5 import dataset, opened, optional, part
from bua.store.formats.item import InvalidImageError, Item, Raw, Source
from bua.store.pickles import read_pickled
from bua.store.reader import ImageId
from bua.structures.regions import Regions

#: Sizes found from fractions must put every box back to within so many pixels, per pixel of size.
_EXACT = 1e-4


def read(source: Source) -> Generator[Item, None, None]:
    """Read a file of either kind, in the order of its rows."""
    rows = _index(source)
    with opened(source.file()) as file:
        adaptive = "pos_boxes" in file
        features = dataset(file, "image_features", (None, None) if adaptive else (None, None, None))
        lead = features.shape[:-1]
        boxes = optional(file, "image_bb", (*lead, 4))
        spatial = optional(file, "spatial_features", (*lead, 6))
        spans = dataset(file, "pos_boxes", (None, 2))[:].astype(int).tolist() if adaptive else None
        for name, row in sorted(rows.items(), key=lambda pair: pair[1]):
            where = f"{source.path.name} row {row}"
            yield Item(name, where, partial(_image, features, boxes, spatial, spans, row))


def index_of(path: Path) -> Path:
    """Return the path of the pickle beside a file: ``train36.hdf5`` has ``train36_imgid2idx.pkl``."""
    return path.with_name(f"{path.stem}_imgid2idx.pkl")


def _index(source: Source) -> dict[ImageId, int]:
    path = source.index or index_of(source.path)
    if not path.is_file():
        raise InputError(f"{source.path}: index={path.name} is needed: the pickle of {{image id: row}}")
    found = read_pickled(path)
    if not isinstance(found, dict) or not found:
        raise InputError(f"{path}: a dictionary of image ids and rows is needed")
    rows: dict[ImageId, int] = {}
    for name, row in found.items():
        if not isinstance(name, int | str) or not isinstance(row, int | np.integer) or row < 0:
            raise InputError(f"{path}: {name!r:.40}: {row!r:.40} is not an image id and its row")
        rows[name] = int(row)
    return rows


def _image(
    features: h5py.Dataset,
    boxes: h5py.Dataset | None,
    spatial: h5py.Dataset | None,
    spans: list[list[int]] | None,
    row: int,
) -> Raw:
    where: Any = row
    if row >= len(spans if spans is not None else features):
        raise InvalidImageError(f"there are {len(features if spans is None else spans)} rows only")
    if spans is not None:
        start, stop = spans[row]
        if not 0 <= start < stop <= len(features):
            raise InvalidImageError(f"pos_boxes is {start} to {stop} of {len(features)}")
        where = slice(start, stop)
    found = part(boxes, where) if boxes is not None else None
    fractions = part(spatial, where) if spatial is not None else None
    size = size_of(found, fractions) if found is not None and fractions is not None else None
    if found is None and fractions is not None:
        return Raw(part(features, where), fractions[:, :4], None, fractions=True)
    return Raw(part(features, where), found, size)


def size_of(boxes: NDArray[Any], fractions: NDArray[Any]) -> tuple[int, int] | None:
    """Return height and width from boxes (n, 4) in pixels and the same as fractions (n, 4 or more).

    Returns:
        ``None`` where no box says: all of them end at 0.

    Raises:
        InvalidImageError: they contradict each other.
    """
    boxes, fractions = boxes.astype(np.float64), fractions.astype(np.float64)
    size = []
    for far, near in ((3, 1), (2, 0)):
        longest = int(boxes[:, far].argmax())
        if boxes[longest, far] <= 0 or fractions[longest, far] <= 0:
            return None
        side = round(boxes[longest, far] / fractions[longest, far])
        ends = np.stack([boxes[:, far], boxes[:, near]])
        again = np.stack([fractions[:, far], fractions[:, near]]) * side
        if not np.allclose(ends, again, rtol=0, atol=_EXACT * max(side, 1)):
            raise InvalidImageError("boxes in pixels and in fractions contradict each other")
        size.append(side)
    return size[0], size[1]


def spatial_features(regions: Regions) -> NDArray[np.float32]:
    """Return (n, 6): the fractions x1, y1, x2, y2, width and height of each box, in float32."""
    height, width = (np.float32(side) for side in regions.size)
    x1, y1, x2, y2 = regions.boxes.T
    x, y, w, h = x1 / width, y1 / height, (x2 - x1) / width, (y2 - y1) / height
    return np.stack([x, y, x + w, y + h, w, h], 1)


def write_fixed(export: Export) -> None:
    """Write the kind of bottom-up-attention-vqa: every image must have the same number of regions."""
    counts = np.unique(export.store.counts())
    if len(counts) > 1:
        raise InputError(
            f"{export.out}: images have {counts[0]} to {counts[-1]} regions, hengyuan_hdf5 needs one "
            "number; ban_hdf5 does not"
        )
    lead = (len(export.store), int(counts[0]))
    _write(export, lead, pos_boxes=False)


def write_adaptive(export: Export) -> None:
    """Write the kind of ban-vqa."""
    _write(export, (int(export.store.counts().sum()),), pos_boxes=True)


def _write(export: Export, lead: tuple[int, ...], pos_boxes: bool) -> None:
    store, out = export.store, export.out
    export.reserve((store.feature_size + 10) * 4)
    with new_files(out, index_of(out)) as (path, beside):
        with h5py.File(path, "w") as file:
            features = file.create_dataset("image_features", (*lead, store.feature_size), np.float32)
            boxes = file.create_dataset("image_bb", (*lead, 4), np.float32)
            spatial = file.create_dataset("spatial_features", (*lead, 6), np.float32)
            ends = np.cumsum(store.counts())
            if pos_boxes:
                file["pos_boxes"] = np.stack([ends - store.counts(), ends], 1).astype(np.int32)
            for n, (_, regions) in enumerate(export.images()):
                where: Any = slice(int(ends[n]) - len(regions), int(ends[n])) if pos_boxes else n
                features[where], boxes[where] = regions.features, regions.boxes
                spatial[where] = spatial_features(regions)
        with open(beside, "wb") as pickled:
            pickle.dump({image: n for n, image in enumerate(store)}, pickled, protocol=2)
