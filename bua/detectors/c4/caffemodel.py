"""Reading the weights in a ``.caffemodel`` from its bytes, without Caffe.

The file is one protobuf message ``NetParameter`` (caffe.proto). Of it the layers (field 100, or 2 in
the older form) are read, of a layer its name and blobs, of a blob its shape and numbers.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError

#: Wire types of protobuf: varint, 8 bytes, length and bytes, 4 bytes.
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
#: Where a layer stands in the network, and its name and blobs in the layer, new and old form.
_LAYER_FORMS = {100: (1, 7), 2: (4, 6)}


def read_caffemodel(path: Path) -> dict[str, list[NDArray[np.float32]]]:
    """Return the blobs of every layer that has any, by name.

    Raises:
        InputError: the file is cut short or not a network of Caffe.
    """
    layers: dict[str, list[NDArray[np.float32]]] = {}
    with open(path, "rb") as file:
        if not path.stat().st_size:
            raise InputError(f"{path}: the file is empty")
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    try:
        for field, value in _fields(content):
            if field in _LAYER_FORMS and isinstance(value, memoryview):
                name, blobs = _layer(value, *_LAYER_FORMS[field])
                if blobs:
                    layers[name] = blobs
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a whole .caffemodel ({error})") from None
    if not layers:
        raise InputError(f"{path}: not a .caffemodel: there is no layer with weights in it")
    return layers


def _layer(content: memoryview, name_field: int, blob_field: int) -> tuple[str, list[NDArray[np.float32]]]:
    name, blobs = "", []
    for field, value in _fields(content):
        if field == name_field and isinstance(value, memoryview):
            name = bytes(value).decode()
        elif field == blob_field and isinstance(value, memoryview):
            blobs.append(_blob(value))
    return name, blobs


def _blob(content: memoryview) -> NDArray[np.float32]:
    """Return one array; old files give its four sides in fields of their own."""
    old: dict[int, int] = {}
    shape: list[int] | None = None
    numbers: list[NDArray[np.generic]] = []
    for field, value in _fields(content):
        if field <= 4 and isinstance(value, int):
            old[field] = value
        elif field == 7 and isinstance(value, memoryview):
            shape = _shape(value)
        elif field in (5, 8) and isinstance(value, memoryview):
            numbers.append(np.frombuffer(value, "<f4" if field == 5 else "<f8"))
    data = np.concatenate(numbers).astype(np.float32) if numbers else np.zeros(0, np.float32)
    sides = shape if shape is not None else [old.get(n, 1) for n in (1, 2, 3, 4)]
    if int(np.prod(sides)) != len(data):
        raise ValueError(f"a blob of shape {sides} holds {len(data)} numbers")
    return data.reshape(sides)


def _shape(content: memoryview) -> list[int]:
    sides: list[int] = []
    for field, value in _fields(content):
        if field != 1:
            continue
        if isinstance(value, int):
            sides.append(value)
        else:
            at = 0
            while at < len(value):
                side, at = _varint(value, at)
                sides.append(side)
    return sides


def _fields(content: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Go through the fields of a message: their numbers, and values or bytes."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        field, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(content, at)
            yield field, value
            continue
        if wire == _BYTES:
            length, at = _varint(content, at)
        elif wire in (_EIGHT, _FOUR):
            length = 8 if wire == _EIGHT else 4
        else:
            raise ValueError(f"field {field} has wire type {wire}")
        if at + length > len(content):
            raise ValueError(f"field {field} is cut short")
        yield field, content[at : at + length]
        at += length


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(content) or shift > 63:
            raise ValueError("a number is cut short")
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
