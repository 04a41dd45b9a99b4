"""Grid features of grid-feats-vqa: one torch file ``ID.pth`` per image, read and written without torch.

facebookresearch/grid-feats-vqa (extract_grid_feature.py): a float32 tensor (1, D, H, W). The regions are
its cells in row-major order; their boxes follow from the size of the image, which is not in the file.
"""

import zipfile
from collections.abc import Generator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.io.write import atomic_folders
from bua.store.formats.arrays import list_files
from bua.store.formats.export import Export, path_below
from bua.store.formats.image_ids import id_to_file_name
from bua.store.formats.source import InvalidImageError, RawImage, Source, SourceImage
from bua.store.formats.validation import grid_boxes
from bua.store.pickles import read_pickled
from bua.structures.regions import Regions

#: Largest deviation from the cells of an even grid, in pixels.
_BOX_TOLERANCE = 0.01


def read(source: Source) -> Generator[SourceImage, None, None]:
    """Yield the images of a folder.

    Raises:
        InputError: If the folder does not exist or has no ``.pth`` files.
    """
    files = list_files(source.folder(), ".pth")
    if not files:
        raise InputError(f"{source.path}: folder has no .pth files")
    for name, path in files:
        yield SourceImage(name, path.relative_to(source.path).as_posix(), partial(_read_image, path))


def _read_image(path: Path) -> RawImage:
    try:
        grid = read_pickled(path)
    except InputError as error:
        raise InvalidImageError(str(error).removeprefix(f"{path}: ")) from None
    if not isinstance(grid, np.ndarray) or grid.ndim not in (3, 4) or grid.shape[:-3] not in ((), (1,)):
        actual = f"shape {grid.shape}" if isinstance(grid, np.ndarray) else type(grid).__name__
        raise InvalidImageError(f"must be a tensor of shape (1, D, H, W), got {actual}")
    channels, height, width = grid.shape[-3:]
    features = np.ascontiguousarray(grid.reshape(channels, height * width).T)
    return RawImage(features, grid=(height, width))


def write(export: Export) -> None:
    """Write a store as a folder.

    Raises:
        InputError: If the regions of an image are not the cells of a grid in row-major order.
    """
    even = True
    with atomic_folders(export.out) as (folder,):
        for image, regions in export.images():
            shape = infer_grid(regions)
            if shape is None:
                raise InputError(
                    f"{export.out}: the {len(regions)} regions of image {image!r} are not the cells of a grid"
                )
            even_boxes = grid_boxes(shape, regions.size)
            even = even and np.allclose(regions.boxes, even_boxes, rtol=0, atol=_BOX_TOLERANCE)
            grid = np.ascontiguousarray(regions.features.T).reshape(1, -1, *shape)
            write_tensor(path_below(folder, f"{id_to_file_name(image, export.out)}.pth"), grid)
    if not even:
        export.report("boxes: cells have unequal sizes, of which the format keeps only the number")


def infer_grid(regions: Regions) -> tuple[int, int] | None:
    """Return the rows and columns of the grid that boxes form in row-major order, or ``None``."""
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

    The file is a zip archive with the elements and a pickle of their type, shape and strides.
    """
    steps = [int(np.prod(array.shape[n + 1 :], dtype=int)) for n in range(array.ndim)]
    shape, strides = (b"(" + b"".join(map(_pickle_int, sizes)) + b"t" for sizes in (array.shape, steps))
    storage = (
        b"(" + _pickle_text("storage") + b"ctorch\nFloatStorage\n" + _pickle_text("0") + _pickle_text("cpu")
    )
    storage += _pickle_int(array.size) + b"tQ"
    content = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + _pickle_int(0) + shape + strides
    content += b"\x89ccollections\nOrderedDict\n)RtR."
    root = path.stem
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{root}/data.pkl", content)
        archive.writestr(f"{root}/byteorder", "little")
        archive.writestr(f"{root}/data/0", np.ascontiguousarray(array, "<f4").tobytes())
        archive.writestr(f"{root}/version", "3\n")


def _pickle_text(text: str) -> bytes:
    """Return the pickle opcodes of a string (BINUNICODE)."""
    return b"X" + len(text.encode()).to_bytes(4, "little") + text.encode()


def _pickle_int(number: int) -> bytes:
    """Return the pickle opcodes of an integer: BININT, or LONG1 from 2**31 on."""
    if number < 2**31:
        return b"J" + number.to_bytes(4, "little")
    return b"\x8a\x08" + number.to_bytes(8, "little")
