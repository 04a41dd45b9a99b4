"""An unpickler that builds plain values and arrays and executes nothing else.

A pickle is a program, and the functions that it may call decide what reading it can do. Here it may call
only the few functions of this file, which build numpy arrays and the tensors of torch files (as numpy
arrays) from bytes that are actually in the file; every other name is rejected before anything is
imported.
"""

import pickle
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

#: Element types of torch storages, little-endian; bfloat16 is widened to float32.
STORAGES: dict[str, np.dtype[Any]] = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("<i1"),
    "ByteStorage": np.dtype("<u1"),
    "BoolStorage": np.dtype("?"),
    "BFloat16Storage": np.dtype("<u2"),
}


class UnsafePickleError(pickle.UnpicklingError):
    """A pickle needs a function or class that plain values do not need."""


class SafeUnpickler(pickle.Unpickler):
    """Reads one pickle of plain values, numpy arrays and torch tensors.

    Args:
        file: File, open for reading bytes.
        encoding: Encoding of strings in pickles of Python 2.
        storage: Function from the name of the element type, the key and the number of elements of a
            torch storage to its elements, or to ``None`` to skip its tensors. Without the function,
            tensors are rejected.
    """

    def __init__(
        self,
        file: IO[bytes],
        encoding: str = "latin1",
        storage: Callable[[str, str, int], NDArray[Any] | None] | None = None,
    ) -> None:
        super().__init__(file, encoding=encoding)
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """Return the safe replacement of a function or class.

        Raises:
            UnsafePickleError: If it has none.
        """
        if module in ("torch", "torch.cuda") and name in STORAGES:
            return _StorageType(name)
        try:
            return _ALLOWED[module.replace("numpy.core", "numpy._core"), name]
        except KeyError:
            raise UnsafePickleError(f"{module}.{name}, which is not a plain value") from None

    def persistent_load(self, pid: Any) -> NDArray[Any] | None:
        """Return the elements of a storage of a torch file.

        Raises:
            UnsafePickleError: If ``pid`` does not refer to a torch storage.
        """
        if self._storage is None:
            raise UnsafePickleError("a reference to data outside the pickle")
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise UnsafePickleError("an unknown reference to data outside the pickle")
        _, storage_type, key, _, count, *view = pid
        if not isinstance(storage_type, _StorageType) or not isinstance(count, int) or count < 0 or any(view):
            raise UnsafePickleError("a storage of an unknown type")
        return self._storage(storage_type.name, str(key), count)


class _StorageType:
    """The element type of a torch storage, given by its name in torch."""

    def __init__(self, name: str) -> None:
        self.name = name


class _DtypeBuilder:
    """Collects the state of a pickled dtype; only simple types can be built from it."""

    def __init__(self, code: Any = None, align: Any = False, copy: Any = False) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise UnsafePickleError("an array with named fields")
        self.order = str(state[1])

    def to_dtype(self) -> np.dtype[Any]:
        """Return the numpy type, which is numeric, string, bytes or object.

        Raises:
            UnsafePickleError: If it is any other type.
        """
        dtype = np.dtype(str(self.code))
        if dtype.kind not in "biufcSUO" or self.order not in "=<>|":
            raise UnsafePickleError(f"an array of type {self.code}")
        return np.dtype(self.order + dtype.str[1:]) if self.order in "<>" else dtype


class _ArrayBuilder(np.ndarray[Any, Any]):
    """An array under construction; accepts its content only if shape and type match the bytes."""

    def __setstate__(self, state: Any) -> None:
        _, shape, builder, fortran, content = state
        dtype: np.dtype[Any] = builder.to_dtype() if isinstance(builder, _DtypeBuilder) else np.dtype(object)
        count = _count_elements(shape)
        if dtype.hasobject:
            if not isinstance(content, list) or len(content) != count:
                raise UnsafePickleError("an object array without its objects")
        else:
            content = content.encode("latin1") if isinstance(content, str) else content
            if not isinstance(content, bytes) or len(content) != count * dtype.itemsize:
                raise UnsafePickleError("an array whose size does not match its bytes")
        checked: Any = (1, shape, dtype, bool(fortran), content)
        super().__setstate__(checked)


def _count_elements(shape: Any) -> int:
    if (
        not isinstance(shape, tuple)
        or len(shape) > 32
        or not all(isinstance(n, int) and n >= 0 for n in shape)
    ):
        raise UnsafePickleError("an array without a valid shape")
    count = 1
    for n in shape:
        count *= n
    return count


#: Stands for ``numpy.ndarray``; calling the class would allocate as much memory as a pickle asks for.
_NDARRAY = "numpy.ndarray"


def _reconstruct(cls: Any, shape: Any, code: Any) -> NDArray[Any]:
    if cls is not _NDARRAY:
        raise UnsafePickleError("an array of an unknown class")
    return _ArrayBuilder(0, np.uint8)


def _array_from_buffer(content: Any, builder: Any, shape: Any, order: Any = "C") -> NDArray[Any]:
    dtype = builder.to_dtype()
    count = _count_elements(shape)
    if dtype.hasobject or not isinstance(content, bytes | bytearray) or order not in ("C", "F"):
        raise UnsafePickleError("an array of an unknown kind")
    if len(content) != count * dtype.itemsize:
        raise UnsafePickleError("an array whose size does not match its bytes")
    return np.frombuffer(bytes(content), dtype).reshape(shape, order=order)


def _make_scalar(builder: Any, content: Any = None) -> Any:
    dtype = builder.to_dtype() if isinstance(builder, _DtypeBuilder) else np.dtype(object)
    content = content.encode("latin1") if isinstance(content, str) else content
    if dtype.hasobject or not isinstance(content, bytes) or len(content) != dtype.itemsize:
        raise UnsafePickleError("a number without its bytes")
    return np.frombuffer(content, dtype)[0]


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Replace ``_codecs.encode``, with which Python 3 writes bytes in old pickle protocols."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "utf-8", "utf8", "ascii"):
        raise UnsafePickleError("bytes in an unknown encoding")
    return text.encode(encoding)


def _make_bytes(content: Any = b"", encoding: Any = "latin1") -> bytes:
    if isinstance(content, list):
        content = bytes(content)
    return content if isinstance(content, bytes) else _encode(content, encoding)


def _make_bytearray(content: Any = b"", encoding: Any = "latin1") -> bytearray:
    return bytearray(_make_bytes(content, encoding))


def _container_factory(kind: type) -> Callable[..., Any]:
    """Return a function that makes a container from another container, but never from a number."""

    def make(content: Any = ()) -> Any:
        if not isinstance(content, list | tuple | set | frozenset | dict):
            raise UnsafePickleError(f"a {kind.__name__} made from {type(content).__name__}")
        return kind(content)

    return make


def _make_defaultdict(factory: Any = None, content: Any = ()) -> Any:
    return defaultdict(None, content)


def _rebuild_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any = False, *rest: Any
) -> NDArray[Any] | None:
    """Copy a tensor out of its storage, which must contain all its elements."""
    if storage is None:
        return None
    shape, steps = tuple(size), tuple(stride)
    count = _count_elements(shape)
    if _count_elements(steps) < 0 or len(shape) != len(steps) or not isinstance(offset, int) or offset < 0:
        raise UnsafePickleError("a tensor without a valid shape")
    last = offset + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
    if count and (last >= len(storage) or count > max(len(storage), 1)):
        raise UnsafePickleError("a tensor larger than its storage")
    if not count:
        return np.zeros(shape, storage.dtype)
    strides = [step * storage.itemsize for step in steps]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, strides, writeable=False).copy()


def _rebuild_parameter(data: Any, requires_grad: Any = False, *rest: Any) -> Any:
    return data


_NUMPY = "numpy._core.multiarray"
_ALLOWED: dict[tuple[str, str], Any] = {
    **{
        (module, name): function
        for module in ("builtins", "__builtin__")
        for name, function in {
            "bytes": _make_bytes,
            "bytearray": _make_bytearray,
            "complex": complex,
            "dict": _container_factory(dict),
            "frozenset": _container_factory(frozenset),
            "list": _container_factory(list),
            "set": _container_factory(set),
            "tuple": _container_factory(tuple),
        }.items()
    },
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): _make_defaultdict,
    (_NUMPY, "_reconstruct"): _reconstruct,
    (_NUMPY, "scalar"): _make_scalar,
    ("numpy._core.numeric", "_frombuffer"): _array_from_buffer,
    ("numpy", "dtype"): _DtypeBuilder,
    ("numpy", "ndarray"): _NDARRAY,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): _container_factory(tuple),
}
