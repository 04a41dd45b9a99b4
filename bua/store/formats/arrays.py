"""Read untrusted ``.npy`` and ``.npz`` files: arrays of numbers, and plain values in object arrays.

Numpy would execute whatever a pickled object array contains; here such arrays are read with
``bua.store.pickles``, which executes nothing.
"""

import io
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.io.folder import list_folder
from bua.store.formats.source import InvalidImageError
from bua.store.pickles import load_pickle

#: Upper limit for the size of an array of one image.
_MAX_BYTES = 2**31
_READ_ERRORS = (OSError, ValueError, EOFError, LookupError, RuntimeError, zipfile.BadZipFile, zlib.error)


def read_npy(path: Path) -> NDArray[Any]:
    """Return the array of a ``.npy`` file.

    Raises:
        InvalidImageError: If the file is missing or damaged, or contains more than plain values.
    """
    try:
        with open(path, "rb") as file:
            return _read_array(file)
    except FileNotFoundError:
        raise InvalidImageError(f"file {path.name} does not exist") from None
    except InvalidImageError:
        raise
    except _READ_ERRORS as error:
        raise InvalidImageError(f"{path.name} is not a readable .npy file ({error})") from None


def read_npz(path: Path, *names: str) -> dict[str, NDArray[Any]]:
    """Return arrays of a ``.npz`` file by name.

    Args:
        path: File to read.
        *names: Names of the arrays to return if the file has them; by default all its arrays.

    Raises:
        InvalidImageError: If the file is missing or damaged, or contains more than plain values.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if names and name not in names:
                    continue
                if info.file_size > _MAX_BYTES:
                    raise InvalidImageError(
                        f"{name} has {info.file_size:,} bytes, more than the limit of {_MAX_BYTES:,}"
                    )
                with archive.open(info) as file:
                    arrays[name] = _read_array(file)
    except FileNotFoundError:
        raise InvalidImageError(f"file {path.name} does not exist") from None
    except InvalidImageError:
        raise
    except _READ_ERRORS as error:
        raise InvalidImageError(f"not a readable .npz file ({error})") from None
    return arrays


def _read_array(file: IO[bytes]) -> NDArray[Any]:
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version} of the .npy format is not supported")
    try:
        shape, fortran, dtype = readers[version](file)
    except Exception as error:  # numpy parses the header as Python and lets any kind of error escape
        raise ValueError(f"its header cannot be read: {str(error)!r:.80}") from None
    if dtype.hasobject:
        value = load_plain_pickle(file.read(_MAX_BYTES))
        if not isinstance(value, np.ndarray):
            raise ValueError("its content is not an array")
        return value
    count = int(np.prod([int(n) for n in shape], dtype=object)) if shape else 1
    if dtype.kind not in "biufSU" or not 0 <= count * dtype.itemsize <= _MAX_BYTES:
        raise ValueError(f"an array of shape {shape} and type {dtype} is not supported")
    content = file.read(count * dtype.itemsize)
    if len(content) != count * dtype.itemsize:
        raise EOFError(f"{len(content)} bytes, but {count * dtype.itemsize} are needed")
    array: NDArray[Any] = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    return array


def load_plain_pickle(content: bytes) -> Any:
    """Return the content of a pickle of plain values.

    Raises:
        InvalidImageError: If the pickle is damaged or contains anything else.
    """
    try:
        return load_pickle(io.BytesIO(content), "pickled value")
    except InputError as error:
        raise InvalidImageError(str(error)) from None


def as_numbers(value: Any, name: str) -> NDArray[Any]:
    """Return a value as an array of numbers.

    Args:
        value: Value to convert.
        name: Name of the value, for messages.

    Raises:
        InvalidImageError: If the value is not an array of numbers.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise InvalidImageError(f"{name} has rows of different lengths") from None
    if array.dtype.kind not in "biuf":
        raise InvalidImageError(f"{name} must have a numeric type, got {array.dtype}")
    return array


def as_int(value: Any, name: str) -> int:
    """Return an integer from a number or an array with one element.

    Args:
        value: Value to convert.
        name: Name of the value, for messages.

    Raises:
        InvalidImageError: If the value is not an integer.
    """
    values = as_numbers(value, name)
    if values.size != 1 or not np.isfinite(values).all() or values.item() != int(values.item()):
        raise InvalidImageError(f"{name} must be an integer, got {values.tolist()!r:.60}")
    return int(values.item())


def as_dict(array: NDArray[Any] | Any, name: str) -> dict[str, Any]:
    """Return a dictionary from an object array with one element, or from the dictionary itself.

    Args:
        array: Value to convert.
        name: Name of the value, for messages.

    Raises:
        InvalidImageError: If the value is not a dictionary.
    """
    value = array.item() if isinstance(array, np.ndarray) and array.size == 1 else array
    if not isinstance(value, dict):
        kind = "an array" if isinstance(value, np.ndarray) else type(value).__name__
        raise InvalidImageError(f"{name} must be a dictionary, got {kind}")
    return value


def orient_features(features: NDArray[Any], count: int | None, transposed: bool) -> NDArray[Any]:
    """Return features of shape (n, D) or (D, n) as (n, D).

    Args:
        features: Features of two dimensions, or of three of which the first is 1.
        count: Number of regions n, by which the layout is recognized; ``None`` if it is unknown.
        transposed: Whether the format stores (D, n), used if ``count`` is unknown.

    Raises:
        InvalidImageError: If the layout is ambiguous, or neither dimension equals ``count``.
    """
    if features.ndim == 3 and features.shape[0] == 1:
        features = features[0]
    if features.ndim != 2:
        raise InvalidImageError(f"features must have two dimensions, got shape {features.shape}")
    if count is None:
        return features.T if transposed else features
    first, second = features.shape
    if first == count == second:
        raise InvalidImageError(
            f"features of shape {first} x {second} for {count} regions are ambiguous: (n, D) or (D, n)"
        )
    if count not in (first, second):
        raise InvalidImageError(
            f"features of shape {first} x {second} do not match the number of regions, {count}"
        )
    return features if first == count else features.T


def list_files(folder: Path, suffix: str) -> list[tuple[str, Path]]:
    """List the files with a suffix in a folder and its subfolders.

    Returns:
        Relative path without the suffix, and full path, of each file.
    """
    paths = [path for path in list_folder(folder).files if path.name.endswith(suffix)]
    return [(path.relative_to(folder).as_posix().removesuffix(suffix), path) for path in paths]
