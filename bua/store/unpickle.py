"""An unpickler that builds plain values and arrays and runs nothing else.

A pickle is a program: what it may call decides what reading it can do. Here it may call the few
functions of this file, which build numpy arrays and the tensors of torch files (as numpy arrays)
from bytes that are really there; every other name is refused before anything is imported.
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


class RefusedError(pickle.UnpicklingError):
    """A pickle asks for what plain values do not need."""


class Unpickler(pickle.Unpickler):
    """Reads one pickle of plain values, numpy arrays and torch tensors.

    Args:
        file: open for reading bytes.
        encoding: of the texts in pickles of Python 2.
        storage: returns the elements of a torch storage by element type name, key and count, or
            ``None`` where the tensors are not wanted; without it tensors are refused.
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
        """Return the stand-in of a name, or raise ``RefusedError``."""
        if module in ("torch", "torch.cuda") and name in STORAGES:
            return _Kind(name)
        try:
            return _ALLOWED[module.replace("numpy.core", "numpy._core"), name]
        except KeyError:
            raise RefusedError(f"{module}.{name} is not a plain value") from None

    def persistent_load(self, pid: Any) -> NDArray[Any] | None:
        """Return the elements of a storage of a torch file."""
        if self._storage is None:
            raise RefusedError("a reference to data outside of the pickle")
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise RefusedError("an unknown reference to data outside of the pickle")
        _, kind, key, _, count, *view = pid
        if not isinstance(kind, _Kind) or not isinstance(count, int) or count < 0 or any(view):
            raise RefusedError("a storage of an unknown type")
        return self._storage(kind.name, str(key), count)


class _Kind:
    """The element type of a storage, by its name in torch."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Dtype:
    """Collects what a pickle says of an element type; only simple types become one."""

    def __init__(self, code: Any = None, align: Any = False, copy: Any = False) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise RefusedError("an array with named fields")
        self.order = str(state[1])

    def real(self) -> np.dtype[Any]:
        """Return the numpy type: numbers, texts, bytes or objects."""
        kind = np.dtype(str(self.code))
        if kind.kind not in "biufcSUO" or self.order not in "=<>|":
            raise RefusedError(f"an array of type {self.code}")
        return np.dtype(self.order + kind.str[1:]) if self.order in "<>" else kind


class _Array(np.ndarray[Any, Any]):
    """An array under construction: takes its content only where size and type agree with the bytes."""

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, content = state
        real: np.dtype[Any] = kind.real() if isinstance(kind, _Dtype) else np.dtype(object)
        count = _count(shape)
        if real.hasobject:
            if not isinstance(content, list) or len(content) != count:
                raise RefusedError("an array of objects without them")
        else:
            content = content.encode("latin1") if isinstance(content, str) else content
            if not isinstance(content, bytes) or len(content) != count * real.itemsize:
                raise RefusedError("an array whose size is not that of its bytes")
        sound: Any = (1, shape, real, bool(fortran), content)
        super().__setstate__(sound)


def _count(shape: Any) -> int:
    if (
        not isinstance(shape, tuple)
        or len(shape) > 32
        or not all(isinstance(n, int) and n >= 0 for n in shape)
    ):
        raise RefusedError("an array without a sound shape")
    count = 1
    for n in shape:
        count *= n
    return count


#: Stands for ``numpy.ndarray``; calling it would reserve as much memory as a pickle cares to name.
_NDARRAY = "numpy.ndarray"


def _reconstruct(kind: Any, shape: Any, code: Any) -> NDArray[Any]:
    if kind is not _NDARRAY:
        raise RefusedError("an array of an unknown class")
    return _Array(0, np.uint8)


def _from_buffer(content: Any, kind: Any, shape: Any, order: Any = "C") -> NDArray[Any]:
    real = kind.real()
    count = _count(shape)
    if real.hasobject or not isinstance(content, bytes | bytearray) or order not in ("C", "F"):
        raise RefusedError("an array of an unknown kind")
    if len(content) != count * real.itemsize:
        raise RefusedError("an array whose size is not that of its bytes")
    return np.frombuffer(bytes(content), real).reshape(shape, order=order)


def _scalar(kind: Any, content: Any = None) -> Any:
    real = kind.real() if isinstance(kind, _Dtype) else np.dtype(object)
    content = content.encode("latin1") if isinstance(content, str) else content
    if real.hasobject or not isinstance(content, bytes) or len(content) != real.itemsize:
        raise RefusedError("a number without its bytes")
    return np.frombuffer(content, real)[0]


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """``_codecs.encode``, by which Python 3 writes bytes into old pickles."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "utf-8", "utf8", "ascii"):
        raise RefusedError("bytes in an unknown encoding")
    return text.encode(encoding)


def _bytes(content: Any = b"", encoding: Any = "latin1") -> bytes:
    if isinstance(content, list):
        content = bytes(content)
    return content if isinstance(content, bytes) else _encode(content, encoding)


def _bytearray(content: Any = b"", encoding: Any = "latin1") -> bytearray:
    return bytearray(_bytes(content, encoding))


def _collection(kind: type) -> Callable[..., Any]:
    """Return a maker of a container from another container, never from a number."""

    def make(content: Any = ()) -> Any:
        if not isinstance(content, list | tuple | set | frozenset | dict):
            raise RefusedError(f"a {kind.__name__} of {type(content).__name__}")
        return kind(content)

    return make


def _defaultdict(factory: Any = None, content: Any = ()) -> Any:
    return defaultdict(None, content)


def _tensor(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any = False, *rest: Any
) -> NDArray[Any] | None:
    """Cut a tensor out of its storage, as a copy; every element must lie inside."""
    if storage is None:
        return None
    shape, steps = tuple(size), tuple(stride)
    count = _count(shape)
    if _count(steps) < 0 or len(shape) != len(steps) or not isinstance(offset, int) or offset < 0:
        raise RefusedError("a tensor without a sound shape")
    last = offset + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
    if count and (last >= len(storage) or count > max(len(storage), 1)):
        raise RefusedError("a tensor larger than its storage")
    if not count:
        return np.zeros(shape, storage.dtype)
    strides = [step * storage.itemsize for step in steps]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, strides, writeable=False).copy()


def _parameter(data: Any, requires_grad: Any = False, *rest: Any) -> Any:
    return data


_NUMPY = "numpy._core.multiarray"
_ALLOWED: dict[tuple[str, str], Any] = {
    **{
        (module, name): thing
        for module in ("builtins", "__builtin__")
        for name, thing in {
            "bytes": _bytes,
            "bytearray": _bytearray,
            "complex": complex,
            "dict": _collection(dict),
            "frozenset": _collection(frozenset),
            "list": _collection(list),
            "set": _collection(set),
            "tuple": _collection(tuple),
        }.items()
    },
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): _defaultdict,
    (_NUMPY, "_reconstruct"): _reconstruct,
    (_NUMPY, "scalar"): _scalar,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _NDARRAY,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): _collection(tuple),
}
