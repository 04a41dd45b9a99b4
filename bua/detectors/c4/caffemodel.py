"""Reading the weights in a ``.caffemodel`` from its bytes, without Caffe.

The file is one protobuf message ``NetParameter`` (caffe.proto). Only its layers are read (field 100, or 2 in
the older format); of a layer, its name and blobs; of a blob, its shape and numbers.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError

#: Wire types of protobuf: varint, 8 bytes, length followed by bytes, 4 bytes.
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
#: For the field of a layer in the network, new and old: the fields of its name and its blobs.
_LAYER_FIELDS = {100: (1, 7), 2: (4, 6)}


def read_caffemodel(path: Path) -> dict[str, list[NDArray[np.float32]]]:
    """Return the blobs of every layer that has any, by the name of the layer.

    Raises:
        InputError: If the file is truncated or not a Caffe network.
    """
    layers: dict[str, list[NDArray[np.float32]]] = {}
    with open(path, "rb") as file:
        if not path.stat().st_size:
            raise InputError(f"{path}: file is empty")
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    try:
        for field, value in _fields(content):
            if field in _LAYER_FIELDS and isinstance(value, memoryview):
                name, blobs = _layer(value, *_LAYER_FIELDS[field])
                if blobs:
                    layers[name] = blobs
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a complete .caffemodel ({error})") from None
    if not layers:
        raise InputError(f"{path}: not a .caffemodel: has no layer with weights")
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
    """Return one array. Old files store the four dimensions in separate fields."""
    old_shape: dict[int, int] = {}
    shape: list[int] | None = None
    parts: list[NDArray[np.generic]] = []
    for field, value in _fields(content):
        if field <= 4 and isinstance(value, int):
            old_shape[field] = value
        elif field == 7 and isinstance(value, memoryview):
            shape = _shape(value)
        elif field in (5, 8) and isinstance(value, memoryview):
            parts.append(np.frombuffer(value, "<f4" if field == 5 else "<f8"))
    numbers = np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)
    if shape is None:
        shape = [old_shape.get(n, 1) for n in (1, 2, 3, 4)]
    if int(np.prod(shape)) != len(numbers):
        raise ValueError(f"a blob of shape {shape} holds {len(numbers)} numbers")
    return numbers.reshape(shape)


def _shape(content: memoryview) -> list[int]:
    shape: list[int] = []
    for field, value in _fields(content):
        if field != 1:
            continue
        if isinstance(value, int):
            shape.append(value)
        else:
            position = 0
            while position < len(value):
                dimension, position = _varint(value, position)
                shape.append(dimension)
    return shape


def _fields(content: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number of each field of a message, and its value (varint) or bytes (any other type)."""
    position = 0
    while position < len(content):
        key, position = _varint(content, position)
        field, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            value, position = _varint(content, position)
            yield field, value
            continue
        if wire_type == _BYTES:
            length, position = _varint(content, position)
        elif wire_type in (_EIGHT, _FOUR):
            length = 8 if wire_type == _EIGHT else 4
        else:
            raise ValueError(f"field {field} has wire type {wire_type}")
        if position + length > len(content):
            raise ValueError(f"field {field} is truncated")
        yield field, content[position : position + length]
        position += length


def _varint(content: memoryview, position: int) -> tuple[int, int]:
    """Return the varint at a position, and the position after it."""
    value = shift = 0
    while True:
        if position >= len(content) or shift > 63:
            raise ValueError("a varint is truncated")
        byte = content[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
