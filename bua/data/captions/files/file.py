"""The captions of a file, whatever its format."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from bua.errors import InputError
from bua.store.reader import ImageId


@dataclass(frozen=True)
class CaptionFile:
    """What a file of captions says, by image id and in the order of the file.

    Attributes:
        path: the file.
        file_names: of the photographs.
        captions: each on one line, otherwise as they were written; an image may have none.
        domains: of the images of nocaps; empty for other files.
        splits: of the images of Karpathy's files; empty for other files.
        format: what the file was taken for.
    """

    path: Path
    file_names: dict[ImageId, str]
    captions: dict[ImageId, list[str]]
    domains: dict[ImageId, str] = field(default_factory=dict)
    splits: dict[ImageId, str] = field(default_factory=dict)
    format: str = "captions"

    def select(self, image_ids: Iterable[ImageId]) -> "CaptionFile":
        """Return these images alone, in this order."""
        ids = list(image_ids)
        return replace(
            self,
            file_names={i: self.file_names[i] for i in ids},
            captions={i: self.captions[i] for i in ids},
            domains={i: self.domains[i] for i in ids if i in self.domains},
            splits={i: self.splits[i] for i in ids if i in self.splits},
        )

    def of_splits(self, names: Collection[str]) -> "CaptionFile":
        """Return the images of some splits alone; of no name at all, the file as it is.

        Raises:
            InputError: there is no such split; those that are there are named.
        """
        if not names:
            return self
        counts = Counter(self.splits.values())
        unknown = [name for name in names if name not in counts]
        if unknown and not counts:
            raise InputError(f"{self.path}: it has no splits ({self.format}), so {unknown[0]} is not one")
        if unknown:
            raise InputError(f"{self.path}: it has no split {unknown[0]!r}; it has {self.split_names()}")
        return self.select(i for i, split in self.splits.items() if split in names)

    def split_names(self) -> str:
        """Return the splits with their numbers of images, as a text."""
        return ", ".join(
            f"{name} ({count:,} images)" for name, count in Counter(self.splits.values()).items()
        )
