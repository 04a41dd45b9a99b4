"""Write a feature store so that a kill at any moment loses at most the current shard.

Shards of some images each are written next to the final file, verified, synced, renamed and listed with
their hash in ``manifest-00.jsonl``; once all are written they are packed into one file, which is renamed
last.
"""

import functools
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.io.files import file_sha256
from bua.io.write import (
    acquire_lock,
    check_replaceable,
    clear_stale_locks,
    lock_path,
    release_lock,
    sync_folder,
    write_text,
)
from bua.store.reader import FeatureStore
from bua.store.schema import StoreMetadata
from bua.store.store_file import write_store_file
from bua.structures.annotations import ImageId
from bua.structures.regions import Regions

#: Shards kept open while packing; each takes a file descriptor per column.
MAX_OPEN_SHARDS = 8

ImageEntry = tuple[ImageId, Regions]


class StoreWriter:
    """Writes one store, shard by shard; a context manager.

    Several processes may write one store: rank 0 opens it before the others, every rank writes its own
    shards and its own manifest, and rank 0 packs once all ranks have written theirs.

    Args:
        out: Store to create.
        metadata: Metadata of the store.
        dtype: Type of the features, float16 or float32.
        rank: Rank of this process among those that write the store.

    Attributes:
        folder: Folder of the shards and manifests.
        manifest: Manifest of this rank, a JSON line per shard.
        shards: Manifest entries of the finished shards of all ranks.

    Raises:
        InputError: If another process writes the same file, or the folder has shards of another detector.
    """

    def __init__(self, out: Path, metadata: StoreMetadata, dtype: str = "float16", *, rank: int = 0) -> None:
        self.out, self.metadata, self.dtype, self.rank = Path(out), metadata, np.dtype(dtype), rank
        self.folder = self.out.with_name(f"{self.out.name}.shards")
        self.manifest = self.folder / _manifest_name(rank)
        self.shards: list[dict[str, Any]] = []
        self._own_shards: set[str] = set()  # written by this object, not by an interrupted run
        self._lock: IO[str] | None = None

    def __enter__(self) -> "StoreWriter":
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Acquire the lock, remove the unfinished files of an interrupted run, and read the manifests.

        Raises:
            InputError: If another process writes the same file, or the folder has shards of another
                detector.
        """
        check_replaceable(self.out)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self._lock = acquire_lock(lock_path(self.out, self.rank), self.out)
        try:
            self._recover()
        except BaseException:
            self.close()
            raise

    def _recover(self) -> None:
        if self.rank == 0:
            clear_stale_locks(self.out)
            self.folder.mkdir(exist_ok=True)
            partial = self.out.with_name(f"{self.out.name}.partial")
            for leftover in [*self.folder.glob("*.partial"), partial]:
                leftover.unlink(missing_ok=True)
            for path in self._manifest_paths():
                self._repair_manifest(path)
        self._repair_manifest(self.manifest)
        self.refresh()

    def close(self) -> None:
        """Release the lock if this object holds it."""
        if self._lock is not None:
            release_lock(self._lock)
            self._lock = None

    def refresh(self) -> None:
        """Read the manifests of all ranks again."""
        entries = [
            json.loads(line) for path in self._manifest_paths() for line in path.read_text().splitlines()[1:]
        ]
        self.shards = entries

    @property
    def done(self) -> set[ImageId]:
        """Return the ids of the images in finished shards."""
        return {image_id for shard in self.shards for image_id in shard["ids"]}

    @property
    def source_sizes(self) -> dict[ImageId, int]:
        """Return the sizes in bytes of the files that finished images come from, as far as they are known."""
        pairs = ((i, n) for s in self.shards for i, n in zip(s["ids"], s.get("sources", ()), strict=False))
        return {image_id: size for image_id, size in pairs if size is not None}

    @property
    def failed(self) -> dict[ImageId, str]:
        """Return the reasons why images could not be read, by image id, as recorded with the shards."""
        done = self.done
        errors = {e["image_id"]: e["error"] for shard in self.shards for e in shard["errors"]}
        return {image_id: reason for image_id, reason in errors.items() if image_id not in done}

    def write(
        self,
        images: Sequence[ImageEntry],
        errors: Mapping[ImageId, str] | None = None,
        source_sizes: Mapping[ImageId, int] | None = None,
    ) -> None:
        """Check the regions of images and write them as one shard.

        Args:
            images: Image ids and regions.
            errors: Reasons why images of this shard could not be read, by image id.
            source_sizes: Sizes in bytes of the image files, by which a resumed run recognizes them.

        Raises:
            InputError: If regions are invalid, an image is duplicated, or the disk is full.
        """
        known = self.done
        for image_id, regions in images:
            regions.check(image_id)
            if image_id in known:
                raise InputError(f"{self.out}: image {image_id!r} is duplicated")
            known.add(image_id)
        entry: dict[str, Any] = {"shard": None, "ids": [image_id for image_id, _ in images]}
        entry["errors"] = [{"image_id": i, "error": reason} for i, reason in (errors or {}).items()]
        entry["sources"] = [(source_sizes or {}).get(image_id) for image_id in entry["ids"]]
        if images:
            number = sum(str(shard["shard"]).startswith(f"rank{self.rank:02d}-") for shard in self.shards)
            name = f"rank{self.rank:02d}-{number:06d}.h5"
            path = self.folder / name
            columns = {k: [r.arrays()[k] for _, r in images] for k in images[0][1].arrays()}
            write_store_file(
                path,
                self.metadata,
                ids=entry["ids"],
                sizes=[regions.size for _, regions in images],
                counts=[len(regions) for _, regions in images],
                columns=columns,
                dtype=self.dtype,
            )
            self._own_shards.add(name)
            entry |= {"shard": name, "sha256": file_sha256(path), "bytes": path.stat().st_size}
        self._append_entry(entry)

    def pack(self, order: Sequence[ImageId]) -> Path:
        """Pack the shards into the final file and remove them.

        Args:
            order: Image ids in the order of the final file; ids without regions are skipped.

        Returns:
            Path of the final file.

        Raises:
            InputError: If a shard is damaged, or no image has regions.
        """
        shard_of = {i: s["shard"] for s in self.shards if s["shard"] for i in s["ids"]}
        ids = [image_id for image_id in order if image_id in shard_of]
        if not ids:
            raise InputError(f"{self.out}: there are no images to write")
        verified = {s["shard"]: self._verify_shard(s) for s in self.shards if s["shard"]}
        first = next(iter(verified.values()))
        if len(verified) == 1 and self._is_complete(first, ids):
            os.replace(first, self.out)
            sync_folder(self.out.parent)
            shutil.rmtree(self.folder)
            return self.out

        @functools.lru_cache(maxsize=MAX_OPEN_SHARDS)
        def open_shard(name: str) -> FeatureStore:
            return FeatureStore(verified[name])

        def gather(name: str) -> Iterable[NDArray[np.generic]]:
            for image_id in ids:
                yield open_shard(shard_of[image_id])[image_id].arrays()[name]

        columns = open_shard(shard_of[ids[0]])[ids[0]].arrays()
        sizes = [(r.size, len(r)) for r in (open_shard(shard_of[i])[i] for i in ids)]
        write_store_file(
            self.out,
            self.metadata,
            ids=ids,
            sizes=[size for size, _ in sizes],
            counts=[count for _, count in sizes],
            columns={name: gather(name) for name in columns},
            dtype=self.dtype,
        )
        shutil.rmtree(self.folder)
        return self.out

    def _verify_shard(self, shard: dict[str, Any]) -> Path:
        path: Path = self.folder / shard["shard"]
        if not path.exists() or file_sha256(path) != shard["sha256"]:
            raise InputError(
                f"{path}: was damaged after it was written; delete {self.folder} and start again"
            )
        return path

    def _is_complete(self, path: Path, ids: Sequence[ImageId]) -> bool:
        """Return whether a shard equals the file that packing would write, except for its creation time."""
        if next(shard["ids"] for shard in self.shards if shard["shard"]) != list(ids):
            return False
        if path.name in self._own_shards:
            return True
        metadata = FeatureStore(path).metadata
        expected = replace(self.metadata, sha256=metadata.sha256, created=metadata.created)
        return metadata.attributes() == expected.attributes()

    def _manifest_paths(self) -> list[Path]:
        return sorted(self.folder.glob(_manifest_name(None)))

    def _repair_manifest(self, path: Path) -> None:
        """Create a manifest if it does not exist, or cut off an unfinished last line.

        Raises:
            InputError: If it belongs to another detector or was created with other options.
        """
        names = [list(self.metadata.class_names), list(self.metadata.attribute_names)]
        head = json.dumps({"about": self.metadata.identity, "dtype": self.dtype.name, "names": names})
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        complete = text[: text.rfind("\n") + 1]
        if complete and json.loads(complete.split("\n")[0]) != json.loads(head):
            raise InputError(
                f"{self.folder}: was created with another detector or other options; delete it or choose "
                "another out="
            )
        if not text or complete != text:
            write_text(path, complete or head + "\n")

    def _append_entry(self, entry: dict[str, Any]) -> None:
        with open(self.manifest, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.shards.append(entry)


def remove_leftovers(out: Path) -> None:
    """Remove the shards and locks of a finished file whose writer was killed before it could do so."""
    folder = out.with_name(f"{out.name}.shards")
    if folder.exists() or lock_path(out, 0).exists():
        lock = acquire_lock(lock_path(out, 0), out)
        clear_stale_locks(out)
        shutil.rmtree(folder, ignore_errors=True)
        release_lock(lock)


def _manifest_name(rank: int | None) -> str:
    """Return the file name of the manifest of a rank; without a rank, the pattern of all manifests."""
    return f"manifest-{'*' if rank is None else f'{rank:02d}'}.jsonl"
