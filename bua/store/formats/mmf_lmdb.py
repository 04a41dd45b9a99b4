"""The features of mmf (pythia) in one LMDB (tools/scripts/features/lmdb_conversion.py).

The value of the key ``NAME`` is a pickled dictionary with ``features``, ``feature_path`` and the entries
of ``NAME_info.npy`` (see ``mmf``); the key ``keys`` holds the pickled list of keys.
"""

import importlib.util
import pickle
from collections.abc import Generator
from functools import partial

import numpy as np

from bua.errors import InputError
from bua.io.write import atomic_folders
from bua.store.formats.arrays import as_dict, load_plain_pickle
from bua.store.formats.export import Export
from bua.store.formats.image_ids import id_to_file_name
from bua.store.formats.mmf import make_info, num_class_probabilities, parse_image
from bua.store.formats.source import InvalidImageError, RawImage, Source, SourceImage

_KEYS = b"keys"
#: What the values are, and what to do with an LMDB of another project, whose values may be anything.
_EXPECTED = (
    'values of mmf are pickled dictionaries with an array "features"; save those of other projects as one '
    "npz per image, with x, bbox, image_h and image_w, and import them with format=mil_npz"
)


def read(source: Source) -> Generator[SourceImage, None, None]:
    """Yield the images of an LMDB, a folder or a single file, in the order of its keys.

    Raises:
        InputError: If the LMDB does not exist or is damaged, or the package lmdb is not installed.
    """
    _require_lmdb()
    import lmdb

    path = source.path
    if not path.exists():
        raise InputError(f"{path}: file or folder does not exist")
    try:
        with (
            lmdb.open(str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False) as file,
            file.begin() as transaction,
        ):
            for key, value in transaction.cursor():
                if key != _KEYS:
                    name = key.decode("utf-8", "replace")
                    yield SourceImage(name, f"{path.name} key {name}", partial(_read_value, value, source))
    except lmdb.Error as error:
        raise InputError(f"{path}: not a readable LMDB ({error})") from None


def _read_value(value: bytes, source: Source) -> RawImage:
    try:
        info = as_dict(load_plain_pickle(value), "the value")
    except InvalidImageError as error:
        raise InvalidImageError(f"{error}; {_EXPECTED}") from None
    if not isinstance(info.get("features"), np.ndarray):
        raise InvalidImageError(f"features are missing; {_EXPECTED}")
    return parse_image(info["features"], info, source)


def write(export: Export) -> None:
    """Write a store as an LMDB, which is a folder.

    Raises:
        InputError: If an image id cannot be a key, the disk is full, or the package lmdb is not installed.
    """
    _require_lmdb()
    import lmdb

    classes = num_class_probabilities(export)
    store = export.store
    row_bytes = (store.feature_size + 16 + classes) * 4
    export.check_free_space(2 * row_bytes)
    size = int(store.counts().sum()) * row_bytes * 2 + len(store) * 2**14 + 2**26
    keys = []
    with atomic_folders(export.out) as (folder,):
        environment = lmdb.open(str(folder), map_size=size, lock=False, sync=False)
        try:
            for image, regions in export.images():
                name = id_to_file_name(image, export.out)
                key = name.encode()
                if key == _KEYS or len(key) > 511:
                    raise InputError(f"{export.out}: image id {image!r:.80} cannot be a key of an LMDB")
                value = {"feature_path": name, "features": regions.features, **make_info(regions, classes)}
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


def _require_lmdb() -> None:
    if importlib.util.find_spec("lmdb") is None:
        raise InputError("mmf_lmdb needs the package lmdb: pip install 'bua[lmdb]'")
