"""Reading ``.npy`` and ``.npz`` files of others: arrays of numbers, and plain values in object arrays.

Numpy would run what a pickled object array asks for; here such arrays go through
``bua.store.pickles``, which runs nothing.
"""

import io
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.store.formats.item import InvalidImageError
from bua.store.pickles import load_pickle

#: No array of one image is larger.
_LARGEST = 2**31
_BROKEN = (OSError, ValueError, EOFError, LookupError, RuntimeError, zipfile.BadZipFile, zlib.error)


def read_npy(path: Path) -> NDArray[Any]:
    """Return the array of a ``.npy`` file.

    Raises:
        InvalidImageError: it is missing or damaged, or holds what is not plain.
    """
    try:
        with open(path, "rb") as file:
            return _array(file)
    except FileNotFoundError:
        raise InvalidImageError(f"there is no {path.name}") from None
    except InvalidImageError:
        raise
    except _BROKEN as error:
        raise InvalidImageError(f"{path.name} is not a readable .npy file ({error})") from None


def read_npz(path: Path, *names: str) -> dict[str, NDArray[Any]]:
    """Return those of the named arrays of a ``.npz`` file that it has; all if none is named.

    Raises:
        InvalidImageError: it is missing or damaged, or holds what is not plain.
    """
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if names and name not in names:
                    continue
                if info.file_size > _LARGEST:
                    raise InvalidImageError(
                        f"{name} has {info.file_size:,} bytes, more than any array of an image"
                    )
                with archive.open(info) as file:
                    found[name] = _array(file)
    except FileNotFoundError:
        raise InvalidImageError(f"there is no {path.name}") from None
    except InvalidImageError:
        raise
    except _BROKEN as error:
        raise InvalidImageError(f"not a readable .npz file ({error})") from None
    return found


def _array(file: IO[bytes]) -> NDArray[Any]:
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read:
        raise ValueError(f"version {version} of its format")
    try:
        shape, fortran, kind = read[version](file)
    except Exception as error:  # numpy parses the head as Python and lets every kind of error out
        raise ValueError(f"its head cannot be read: {str(error)!r:.80}") from None
    if kind.hasobject:
        found = plain(file.read(_LARGEST))
        if not isinstance(found, np.ndarray):
            raise ValueError("an object that is not an array")
        return found
    count = int(np.prod([int(n) for n in shape], dtype=object)) if shape else 1
    if kind.kind not in "biufSU" or not 0 <= count * kind.itemsize <= _LARGEST:
        raise ValueError(f"an array {shape} of {kind}")
    content = file.read(count * kind.itemsize)
    if len(content) != count * kind.itemsize:
        raise EOFError(f"{len(content)} bytes, {count * kind.itemsize} are needed")
    array: NDArray[Any] = np.frombuffer(content, kind).reshape(shape, order="F" if fortran else "C")
    return array


def plain(content: bytes) -> Any:
    """Return the content of a pickle of plain values.

    Raises:
        InvalidImageError: it is damaged, or holds anything else.
    """
    try:
        return load_pickle(io.BytesIO(content), "a pickle")
    except InputError as error:
        raise InvalidImageError(str(error).replace("a pickle: ", "a pickle in it ", 1)) from None


def numbers(value: Any, what: str) -> NDArray[Any]:
    """Return what should be an array of numbers as one.

    Raises:
        InvalidImageError: it is something else.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise InvalidImageError(f"{what} has rows of different lengths") from None
    if array.dtype.kind not in "biuf":
        raise InvalidImageError(f"{what} is of {array.dtype}, numbers are needed")
    return array


def number(value: Any, what: str) -> int:
    """Return a whole number that stands alone, or in an array of one.

    Raises:
        InvalidImageError: it is not a whole number.
    """
    values = numbers(value, what)
    if values.size != 1 or not np.isfinite(values).all() or values.item() != int(values.item()):
        raise InvalidImageError(f"{what} is {values.tolist()!r:.60}, a whole number is needed")
    return int(values.item())


def mapping(array: NDArray[Any] | Any, what: str) -> dict[str, Any]:
    """Return a dictionary that stands alone in an array of objects.

    Raises:
        InvalidImageError: it is something else.
    """
    value = array.item() if isinstance(array, np.ndarray) and array.size == 1 else array
    if not isinstance(value, dict):
        raise InvalidImageError(f"{what} is {type(value).__name__}, a dictionary is needed")
    return value


def upright(features: NDArray[Any], count: int | None, columns_first: bool) -> NDArray[Any]:
    """Return features as (n, D), also where they lie as (D, n).

    Args:
        features: two dimensions, or with one of size 1 before them.
        count: number of regions, where the file tells it.
        columns_first: what the format says, for files that do not tell it.

    Raises:
        InvalidImageError: they can be read both ways, or neither has the right number.
    """
    if features.ndim == 3 and features.shape[0] == 1:
        features = features[0]
    if features.ndim != 2:
        raise InvalidImageError(f"features are {features.shape}, two dimensions are needed")
    if count is None:
        return features.T if columns_first else features
    first, second = features.shape
    if first == count == second:
        raise InvalidImageError(
            f"features are {first} x {second} for {count} regions: they can be read both ways"
        )
    if count not in (first, second):
        raise InvalidImageError(f"features are {first} x {second}, neither is {count} regions")
    return features if first == count else features.T


def members(folder: Path, suffix: str) -> list[tuple[str, Path]]:
    """List the files of a folder and of those below it: path below the folder without suffix, and path."""
    paths = sorted(folder.rglob(f"*{suffix}"))
    return [(p.relative_to(folder).as_posix().removesuffix(suffix), p) for p in paths if p.is_file()]
