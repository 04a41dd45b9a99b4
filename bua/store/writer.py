"""Writing a feature store so that a kill at any moment loses at most the shard in hand.

Shards of some images each are written beside the final file, verified, synced, renamed and listed
with their hash in ``manifest-00.jsonl``; when all are there they are packed into one file, which is
renamed last. HDF5 writes only the few bytes that describe a file; the data go through plain
writes, because HDF5 ends the process when it meets a full disk.
"""

import functools
import hashlib
import json
import os
import resource
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.io.atomic import sync_folder, write_text
from bua.store.checksum import BLOCK, write_checksum
from bua.store.lock import give_back, lock_file, require_alone, take
from bua.store.reader import FeatureStore, ImageId, open_store
from bua.store.schema import StoreMetadata
from bua.structures.regions import Regions

#: Shards kept open while packing; each takes a file descriptor a column.
OPEN_SHARDS = 8

Entry = tuple[ImageId, Regions]


class StoreWriter:
    """Writes one store, shard by shard; use it in a ``with`` statement.

    Several processes may share the work: the first opens it before the others, each writes shards
    and a manifest of its own, and the first packs when all have written theirs.

    Args:
        out: the file to make.
        metadata: where its features come from.
        dtype: of the features, float16 or float32.
        rank: of this process among those that share the work; the first, 0, opens and packs.

    Raises:
        InputError: another process writes the same file, or shards of another detector lie there.
    """

    def __init__(self, out: Path, metadata: StoreMetadata, dtype: str = "float16", *, rank: int = 0) -> None:
        self.out, self.metadata, self.dtype, self.rank = Path(out), metadata, np.dtype(dtype), rank
        self.folder = self.out.with_name(f"{self.out.name}.shards")
        self.manifest = self.folder / _manifest(rank)
        self.shards: list[dict[str, Any]] = []
        self._fresh: set[str] = set()  # shards that this very writer wrote
        self._lock: IO[str] | None = None

    def __enter__(self) -> "StoreWriter":
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Take the lock, put away what an interrupted run left half done, and read the manifests.

        Raises:
            InputError: another process writes the same file, or shards of another detector lie there.
        """
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self._lock = take(lock_file(self.out, self.rank), self.out)
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        if self.rank == 0:
            require_alone(self.out)
            self.folder.mkdir(exist_ok=True)
            partial = self.out.with_name(f"{self.out.name}.partial")
            for leftover in [*self.folder.glob("*.partial"), partial]:
                leftover.unlink(missing_ok=True)
            for path in self._manifests():
                self._mend(path)
        self._mend(self.manifest)
        self.refresh()

    def close(self) -> None:
        """Give back the lock, if this process holds it."""
        if self._lock is not None:
            give_back(self._lock)
            self._lock = None

    def refresh(self) -> None:
        """Read again what all processes have written."""
        lines = [json.loads(text) for path in self._manifests() for text in path.read_text().splitlines()[1:]]
        self.shards = lines

    @property
    def done(self) -> set[ImageId]:
        """Images that are in a finished shard."""
        return {image_id for shard in self.shards for image_id in shard["ids"]}

    @property
    def sources(self) -> dict[ImageId, int]:
        """Bytes of the files that images in finished shards were made from, where they are known."""
        pairs = ((i, n) for s in self.shards for i, n in zip(s["ids"], s.get("sources", ()), strict=False))
        return {image_id: count for image_id, count in pairs if count is not None}

    @property
    def failed(self) -> dict[ImageId, str]:
        """Images that could not be read, and why, as noted with the finished shards."""
        done = self.done
        every = {e["image_id"]: e["error"] for shard in self.shards for e in shard["errors"]}
        return {image_id: text for image_id, text in every.items() if image_id not in done}

    def write(
        self,
        images: Sequence[Entry],
        errors: Mapping[ImageId, str] | None = None,
        sources: Mapping[ImageId, int] | None = None,
    ) -> None:
        """Write one shard.

        Args:
            images: ids and regions; each is checked.
            errors: images that belong here but could not be read, and why.
            sources: bytes of the files that the images were made from, to know them again.

        Raises:
            InputError: regions are not sound, an image comes twice, or the disk is full.
        """
        known = self.done
        for image_id, regions in images:
            regions.check(image_id)
            if image_id in known:
                raise InputError(f"{self.out}: image {image_id!r} comes twice")
            known.add(image_id)
        entry: dict[str, Any] = {"shard": None, "ids": [image_id for image_id, _ in images]}
        entry["errors"] = [{"image_id": i, "error": text} for i, text in (errors or {}).items()]
        entry["sources"] = [(sources or {}).get(image_id) for image_id in entry["ids"]]
        if images:
            mine = sum(str(shard["shard"]).startswith(f"rank{self.rank:02d}-") for shard in self.shards)
            name = f"rank{self.rank:02d}-{mine:06d}.h5"
            path = self.folder / name
            columns = {k: [r.arrays()[k] for _, r in images] for k in images[0][1].arrays()}
            write_file(
                path,
                self.metadata,
                ids=entry["ids"],
                sizes=[regions.size for _, regions in images],
                counts=[len(regions) for _, regions in images],
                columns=columns,
                dtype=self.dtype,
            )
            self._fresh.add(name)
            entry |= {"shard": name, "sha256": _sha256(path), "bytes": path.stat().st_size}
        self._append(entry)

    def pack(self, order: Sequence[ImageId]) -> Path:
        """Join the shards into the final file, images in the order given, and remove the shards.

        Raises:
            InputError: a shard is damaged, or there are no images at all.
        """
        home = {i: s["shard"] for s in self.shards if s["shard"] for i in s["ids"]}
        ids = [image_id for image_id in order if image_id in home]
        if not ids:
            raise InputError(f"{self.out}: there are no images to write")
        verified = {s["shard"]: self._verified(s) for s in self.shards if s["shard"]}
        first = next(iter(verified.values()))
        if len(verified) == 1 and self._is_whole(first, ids):
            os.replace(first, self.out)
            sync_folder(self.out.parent)
            shutil.rmtree(self.folder)
            return self.out

        @functools.lru_cache(maxsize=OPEN_SHARDS)
        def shard(name: str) -> FeatureStore:
            return FeatureStore(verified[name])

        def gather(name: str) -> Iterable[NDArray[np.generic]]:
            for image_id in ids:
                yield shard(home[image_id])[image_id].arrays()[name]

        found = [shard(home[i])[i] for i in ids[:1]]
        numbers = [(r.size, len(r)) for r in (shard(home[i])[i] for i in ids)]
        write_file(
            self.out,
            self.metadata,
            ids=ids,
            sizes=[size for size, _ in numbers],
            counts=[count for _, count in numbers],
            columns={name: gather(name) for name in found[0].arrays()},
            dtype=self.dtype,
        )
        shutil.rmtree(self.folder)
        return self.out

    def _verified(self, shard: dict[str, Any]) -> Path:
        path: Path = self.folder / shard["shard"]
        if not path.exists() or _sha256(path) != shard["sha256"]:
            raise InputError(f"{path}: damaged since it was written; delete {self.folder} and start again")
        return path

    def _is_whole(self, path: Path, ids: Sequence[ImageId]) -> bool:
        """Tell whether a shard is what packing would write, but for the time of creation."""
        if next(shard["ids"] for shard in self.shards if shard["shard"]) != list(ids):
            return False
        if path.name in self._fresh:
            return True
        metadata = FeatureStore(path).metadata
        now = replace(self.metadata, sha256=metadata.sha256, created=metadata.created)
        return metadata.attributes() == now.attributes()

    def _manifests(self) -> list[Path]:
        return sorted(self.folder.glob(_manifest(None)))

    def _mend(self, path: Path) -> None:
        """Begin a manifest, or cut off a last line that was never finished.

        Raises:
            InputError: it was begun with another detector or with other options.
        """
        names = [list(self.metadata.class_names), list(self.metadata.attribute_names)]
        head = json.dumps({"about": self.metadata.identity, "dtype": self.dtype.name, "names": names})
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole and json.loads(whole.split("\n")[0]) != json.loads(head):
            raise InputError(
                f"{self.folder}: begun with another detector or other options; delete it or give another out="
            )
        if not text or whole != text:
            write_text(path, whole or head + "\n")

    def _append(self, entry: dict[str, Any]) -> None:
        with open(self.manifest, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.shards.append(entry)


def remove_leftovers(out: Path) -> None:
    """Remove the shards of a finished file whose writer was killed just before it did so itself."""
    folder = out.with_name(f"{out.name}.shards")
    if folder.exists() or lock_file(out, 0).exists():
        held = take(lock_file(out, 0), out)
        require_alone(out)
        shutil.rmtree(folder, ignore_errors=True)
        give_back(held)


def write_file(
    path: Path,
    metadata: StoreMetadata,
    *,
    ids: Sequence[ImageId],
    sizes: Sequence[tuple[int, int]],
    counts: Sequence[int],
    columns: Mapping[str, Iterable[NDArray[np.generic]]],
    dtype: np.dtype[Any],
) -> None:
    """Write one file of the format; it appears under its name only when it is whole and verified.

    Args:
        path: the file.
        metadata: its attributes.
        ids: image ids.
        sizes: height and width of each image.
        counts: regions of each image.
        columns: for each column, the arrays of the images in the order of ``ids``.
        dtype: of the features.

    Raises:
        InputError: the disk is full, or features are too large for ``dtype``.
    """
    partial = path.with_name(f"{path.name}.partial")
    total = int(np.sum(counts))
    stop = np.cumsum(counts, dtype=np.int64)
    firsts = {name: iter(arrays) for name, arrays in columns.items()}
    heads = {name: next(arrays) for name, arrays in firsts.items()}
    try:
        with h5py.File(partial, "w", userblock_size=BLOCK) as file:
            file.attrs.update(metadata.attributes())
            text = isinstance(ids[0], str)
            file.create_dataset("image_id", data=ids, dtype=h5py.string_dtype() if text else np.int64)
            file["rows"] = np.stack([stop - counts, stop], 1)
            file["size"] = np.array(sizes, np.int32)
            kinds = {name: dtype if name == "features" else head.dtype for name, head in heads.items()}
            _reserve(partial, sum(total * _width(heads[n]) * k.itemsize for n, k in kinds.items()))
            offsets = {
                name: _allocate(file, name, (total, *head.shape[1:]), kinds[name])
                for name, head in heads.items()
            }
        hashes = {}
        with open(partial, "r+b") as raw:
            for name, arrays in firsts.items():
                raw.seek(offsets[name])
                hashes[name] = _stream(raw, heads[name], arrays, kinds[name])
        with h5py.File(partial, "r+") as file:
            file.attrs["sha256"] = replace(metadata, sha256=hashes).attributes()["sha256"]
        lengths = {name: total * _width(heads[name]) * kind.itemsize for name, kind in kinds.items()}
        write_checksum(partial, {name: (offset, lengths[name]) for name, offset in offsets.items()})
        with open_store(partial), open(partial, "rb") as raw:
            os.fsync(raw.fileno())
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
    except InputError:
        partial.unlink(missing_ok=True)
        raise
    os.replace(partial, path)
    sync_folder(path.parent)


def _stream(raw: IO[bytes], head: NDArray[Any], rest: Iterable[NDArray[Any]], kind: np.dtype[Any]) -> str:
    """Write arrays one behind the other and return the sha256 of what was written."""
    digest = hashlib.sha256()
    for array in chain([head], rest):
        with np.errstate(over="ignore"):
            cast = np.ascontiguousarray(array, kind)
        if kind == np.float16 and not np.isfinite(cast).all():
            raise InputError("features beyond 65504 do not fit float16; give dtype=float32")
        digest.update(cast.data)
        raw.write(cast.data)
    return digest.hexdigest()


def _width(array: NDArray[Any]) -> int:
    return int(np.prod(array.shape[1:], dtype=int))


def _allocate(file: h5py.File, name: str, shape: tuple[int, ...], kind: np.dtype[Any]) -> int:
    """Make a contiguous dataset without writing it and return where in the file it lies."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.CONTIGUOUS)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple(shape)
    dataset = h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(kind), space, dcpl=plan)
    return int(dataset.get_offset())


def _manifest(rank: int | None) -> str:
    """Return the file name of the manifest of a process, or the pattern of all."""
    return f"manifest-{'*' if rank is None else f'{rank:02d}'}.jsonl"


def _reserve(partial: Path, count: int) -> None:
    """Raise ``OSError`` if so many bytes cannot be written, before HDF5 finds out."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    needed = count + 2**20
    if limit != resource.RLIM_INFINITY and needed > limit:
        raise OSError(27, f"{needed:,} bytes are needed, files of at most {limit:,} are allowed")
    free = shutil.disk_usage(partial.parent).free
    if free < needed + 64 * 2**20:
        raise OSError(28, f"{needed:,} bytes are needed, {free:,} are free")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
