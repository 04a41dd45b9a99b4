"""Grid features of grid-feats-vqa: one torch file ``ID.pth`` an image, read and written without torch.

facebookresearch/grid-feats-vqa (extract_grid_feature.py): a float32 tensor (1, D, H, W). Regions are
its cells row by row; their boxes follow from the size of the image, which the file does not tell.
"""

import zipfile
from collections.abc import Generator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.store.formats.arrays import members
from bua.store.formats.export import Export, below, new_folders
from bua.store.formats.image_ids import file_name
from bua.store.formats.item import InvalidImageError, Item, Raw, Source
from bua.store.formats.validation import cell_boxes
from bua.store.pickles import read_pickled
from bua.structures.regions import Regions

#: Boxes are those of an even grid if they are so close, in pixels.
_CLOSE = 0.01


def read(source: Source) -> Generator[Item, None, None]:
    """Read a folder."""
    found = members(source.folder(), ".pth")
    if not found:
        raise InputError(f"{source.path}: there are no .pth files in it")
    for name, path in found:
        yield Item(name, path.relative_to(source.path).as_posix(), partial(_image, path))


def _image(path: Path) -> Raw:
    try:
        grid = read_pickled(path)
    except InputError as error:
        raise InvalidImageError(str(error).removeprefix(f"{path}: ")) from None
    if not isinstance(grid, np.ndarray) or grid.ndim not in (3, 4) or grid.shape[:-3] not in ((), (1,)):
        found = grid.shape if isinstance(grid, np.ndarray) else type(grid).__name__
        raise InvalidImageError(f"it holds {found}, a tensor (1, D, H, W) is needed")
    depth, height, width = grid.shape[-3:]
    features = np.ascontiguousarray(grid.reshape(depth, height * width).T)
    return Raw(features, cells=(height, width))


def write(export: Export) -> None:
    """Write a folder; the regions of every image must be the cells of a grid, row by row."""
    even = True
    with new_folders(export.out) as (folder,):
        for image, regions in export.images():
            cells = cells_of(regions)
            if cells is None:
                raise InputError(
                    f"{export.out}: the {len(regions)} regions of image {image!r} are not the cells of a grid"
                )
            exact = cell_boxes(cells, regions.size)
            even = even and np.allclose(regions.boxes, exact, rtol=0, atol=_CLOSE)
            grid = np.ascontiguousarray(regions.features.T).reshape(1, -1, *cells)
            write_tensor(below(folder, f"{file_name(image, export.out)}.pth"), grid)
    if not even:
        export.report("boxes: cells of unequal size; the format holds their number only")


def cells_of(regions: Regions) -> tuple[int, int] | None:
    """Return the rows and columns of the grid that boxes make row by row, or ``None``."""
    width = len(np.unique(regions.boxes[:, 0]))
    height = len(regions) // width
    if width * height != len(regions):
        return None
    x, y = regions.boxes[:, :2].reshape(height, width, 2).transpose(2, 0, 1)
    columns = (x == x[0]).all() and (np.diff(x[0]) > 0).all()
    rows = (y[:, 0] == y.T).all() and (np.diff(y[:, 0]) > 0).all()
    return (height, width) if columns and rows else None


def write_tensor(path: Path, array: NDArray[np.float32]) -> None:
    """Write a float32 array as ``torch.save`` writes a tensor.

    A zip file of two entries: the elements, and a pickle that says type, shape and steps.
    """
    steps = [int(np.prod(array.shape[n + 1 :], dtype=int)) for n in range(array.ndim)]
    shape, strides = (b"(" + b"".join(map(_number, numbers)) + b"t" for numbers in (array.shape, steps))
    storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu")
    storage += _number(array.size) + b"tQ"
    content = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + _number(0) + shape + strides
    content += b"\x89ccollections\nOrderedDict\n)RtR."
    root = path.stem
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{root}/data.pkl", content)
        archive.writestr(f"{root}/byteorder", "little")
        archive.writestr(f"{root}/data/0", np.ascontiguousarray(array, "<f4").tobytes())
        archive.writestr(f"{root}/version", "3\n")


def _text(text: str) -> bytes:
    """Return the pickle of a text (BINUNICODE)."""
    return b"X" + len(text.encode()).to_bytes(4, "little") + text.encode()


def _number(number: int) -> bytes:
    """Return the pickle of a whole number: four bytes, or as many as it needs (LONG1)."""
    if number < 2**31:
        return b"J" + number.to_bytes(4, "little")
    return b"\x8a\x08" + number.to_bytes(8, "little")
