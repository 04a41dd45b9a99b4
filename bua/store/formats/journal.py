"""What an import put right and left out: kept beside the shards while it runs, then as a report."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bua.errors import InputError
from bua.io.atomic import write_text
from bua.store.writer import StoreWriter


@dataclass(frozen=True)
class ImportResult:
    """How an import went.

    Attributes:
        images: in the store.
        regions: in the store.
        repaired: what was put right, and in how many images.
        dropped: what was left out, by its place in the source, and why.
        seconds: that it took; 0 for a store that was there before.
    """

    images: int
    regions: int
    repaired: dict[str, int]
    dropped: dict[str, str]
    seconds: float


def report_file(out: Path) -> Path:
    """Return where the report of an import is written."""
    return out.with_name(f"{out.stem}.import.json")


def write_report(
    out: Path, origin: Mapping[str, str], images: int, repaired: Mapping[str, int], dropped: Mapping[str, str]
) -> None:
    """Write the report of an import beside its store."""
    content = {**origin, "images": images, "repaired": dict(repaired), "dropped": dict(dropped)}
    write_text(report_file(out), json.dumps(content, indent=1, ensure_ascii=False) + "\n")


class ImportJournal:
    """What was put right in each finished shard, for an import that is interrupted.

    Args:
        writer: open; the journal lies among its shards and goes with them.
        origin: of the import.

    Raises:
        InputError: the shards come from another source.
    """

    def __init__(self, writer: StoreWriter, origin: Mapping[str, str]) -> None:
        self.writer, self.path = writer, writer.folder / "import.jsonl"
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        if writer.shards and lines and _content(lines[0]) not in (None, origin):
            raise InputError(f"{writer.folder}: begun with another source; delete it or give another out")
        if not writer.shards or not lines:  # a power cut may have taken it: only its counts are lost
            self.path.write_text(json.dumps(origin) + "\n", encoding="utf-8")

    def note(self, tally: Mapping[str, int]) -> None:
        """Note what the next shard will hold; if it is not written, the next one is noted over it."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps([len(self.writer.shards), tally]) + "\n")

    def tally(self) -> Counter[str]:
        """Add up what was put right in all shards."""
        counted: dict[int, dict[str, int]] = {}
        for line in self.path.read_text(encoding="utf-8").splitlines()[1:]:
            if (content := _content(line)) is not None:
                counted[content[0]] = content[1]
        total = Counter[str]()
        for tally in counted.values():
            total.update(tally)
        return total


def _content(line: str) -> Any:
    """Return what a line says; ``None`` for one cut short by a kill, before its shard was written."""
    try:
        return json.loads(line)
    except ValueError:
        return None
