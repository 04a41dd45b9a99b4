"""Repaired and dropped images of an import: a journal while it runs, then a report next to the store."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bua.errors import InputError
from bua.io.write import write_text
from bua.store.writer import StoreWriter


@dataclass(frozen=True)
class ImportResult:
    """Summary of an import.

    Attributes:
        images: Number of images in the store.
        regions: Number of regions in the store.
        repaired: Number of images per kind of repair.
        dropped: Reasons why images were left out, by their location in the source.
        seconds: Duration of the import; 0 if the store already existed.
    """

    images: int
    regions: int
    repaired: dict[str, int]
    dropped: dict[str, str]
    seconds: float


def report_path(out: Path) -> Path:
    """Return the path of the report of an import, ``NAME.import.json`` for ``NAME.h5``."""
    return out.with_name(f"{out.stem}.import.json")


def write_report(
    out: Path, origin: Mapping[str, str], images: int, repaired: Mapping[str, int], dropped: Mapping[str, str]
) -> None:
    """Write the report of an import next to its store.

    Args:
        out: Store that was created.
        origin: Format and source of the import.
        images: Number of images in the store.
        repaired: Number of images per kind of repair.
        dropped: Reasons why images were left out, by their location in the source.
    """
    content = {**origin, "images": images, "repaired": dict(repaired), "dropped": dict(dropped)}
    write_text(report_path(out), json.dumps(content, indent=1, ensure_ascii=False) + "\n")


class ImportJournal:
    """Records the repairs in each finished shard, so that a resumed import can report them.

    Args:
        writer: Open writer; the journal is kept in the folder of its shards and removed with it.
        origin: Format and source of the import.

    Raises:
        InputError: If the shards come from another source.
    """

    def __init__(self, writer: StoreWriter, origin: Mapping[str, str]) -> None:
        self.writer, self.path = writer, writer.folder / "import.jsonl"
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        if writer.shards and lines and _parse_line(lines[0]) not in (None, origin):
            raise InputError(
                f"{writer.folder}: was created from another source; delete it or choose another out="
            )
        if not writer.shards or not lines:  # if a power failure destroyed it, only its counts are lost
            write_text(self.path, json.dumps(origin) + "\n")

    def record(self, tally: Mapping[str, int]) -> None:
        """Record the repairs in the next shard.

        If that shard is not written after all, the next call replaces its record.

        Args:
            tally: Number of images per kind of repair.
        """
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps([len(self.writer.shards), tally]) + "\n")

    def tally(self) -> Counter[str]:
        """Return the number of images per kind of repair, summed over all shards."""
        tallies: dict[int, dict[str, int]] = {}
        for line in self.path.read_text(encoding="utf-8").splitlines()[1:]:
            if (content := _parse_line(line)) is not None:
                tallies[content[0]] = content[1]
        total = Counter[str]()
        for tally in tallies.values():
            total.update(tally)
        return total


def _parse_line(line: str) -> Any:
    """Return the content of a line, or ``None`` if a kill truncated it, before its shard was written."""
    try:
        return json.loads(line)
    except ValueError:
        return None
