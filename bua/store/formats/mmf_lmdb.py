"""The features of mmf (pythia) in one LMDB (tools/scripts/features/lmdb_conversion.py).

The value of the key ``NAME`` is a pickled dictionary with ``features``, ``feature_path`` and what
``mmf`` notes of an image; the key ``keys`` holds the pickled list of keys.
"""

import importlib.util
import pickle
from collections.abc import Generator
from functools import partial

import numpy as np

from bua.errors import InputError
from bua.store.formats.arrays import mapping, plain
from bua.store.formats.export import Export, new_folders
from bua.store.formats.image_ids import file_name
from bua.store.formats.item import InvalidImageError, Item, Raw, Source
from bua.store.formats.mmf import classes_of, image_of, notes_of

_KEYS = b"keys"


def read(source: Source) -> Generator[Item, None, None]:
    """Read an LMDB, a folder or a single file, in the order of its keys."""
    _require()
    import lmdb

    path = source.path
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    try:
        with (
            lmdb.open(str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False) as file,
            file.begin() as transaction,
        ):
            for key, value in transaction.cursor():
                if key != _KEYS:
                    name = key.decode("utf-8", "replace")
                    yield Item(name, f"{path.name} key {name}", partial(_value, value, source))
    except lmdb.Error as error:
        raise InputError(f"{path}: not a readable LMDB ({error})") from None


def _value(value: bytes, source: Source) -> Raw:
    info = mapping(plain(value), "the value")
    if not isinstance(info.get("features"), np.ndarray):
        raise InvalidImageError("there are no features")
    return image_of(info["features"], info, source)


def write(export: Export) -> None:
    """Write an LMDB, a folder."""
    _require()
    import lmdb

    classes = classes_of(export)
    store = export.store
    row_bytes = (store.feature_size + 16 + classes) * 4
    export.reserve(2 * row_bytes)
    size = int(store.counts().sum()) * row_bytes * 2 + len(store) * 2**14 + 2**26
    keys = []
    with new_folders(export.out) as (folder,):
        environment = lmdb.open(str(folder), map_size=size, lock=False, sync=False)
        try:
            for image, regions in export.images():
                name = file_name(image, export.out)
                key = name.encode()
                if key == _KEYS or len(key) > 511:
                    raise InputError(f"{export.out}: image id {image!r:.80} cannot be a key of an LMDB")
                value = {"feature_path": name, "features": regions.features, **notes_of(regions, classes)}
                with environment.begin(write=True) as transaction:
                    transaction.put(key, pickle.dumps(value, protocol=4))
                keys.append(key)
            with environment.begin(write=True) as transaction:
                transaction.put(_KEYS, pickle.dumps(keys, protocol=4))
            environment.sync(True)
        except lmdb.Error as error:
            raise InputError(f"{export.out}: cannot be written ({error})") from None
        finally:
            environment.close()


def _require() -> None:
    if importlib.util.find_spec("lmdb") is None:
        raise InputError("mmf_lmdb needs the package lmdb: pip install 'bua[lmdb]'")
