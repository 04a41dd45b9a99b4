"""Which words a captioner knows: counted in files of captions, or read from a file."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bua.data.captions.files.file import CaptionFile
from bua.errors import InputError
from bua.io.text_file import read_text
from bua.text.subwords import SubwordModel
from bua.text.vocabulary import SENTENCEPIECE, SPECIAL, Vocabulary

log = logging.getLogger(__name__)
#: Whose captions are counted.
COUNTED = ("train", "train_val", "all")


@dataclass(frozen=True, kw_only=True)
class VocabularyOptions:
    """How a vocabulary comes about.

    Args:
        tokenizer: name of the rule that makes words, or ``sentencepiece``, which learns pieces of words.
        min_count: a word occurs at least so often to be known.
        counted: where: "train" in the captions to train on, "train_val" also in those to validate
            on, "all" in those of every image of the files of both, whatever its split.
        file: a vocabulary as a run holds it, a list of words, one a line, whose name ends in ``.txt``,
            or a model of SentencePiece, whose name ends in ``.model``; nothing is counted then.
        size: so many words at most, or pieces, with the four special ones.
        also: a text file whose words are known, too, however often they occur: those of constraints.

    Raises:
        InputError: a value is not one of those.
    """

    tokenizer: str
    min_count: int
    counted: str
    file: str | None = None
    size: int | None = None
    also: str | None = None

    def __post_init__(self) -> None:
        if self.counted not in COUNTED:
            raise InputError(f"data.vocabulary.counted={self.counted}: {', '.join(COUNTED)} is needed")
        if not isinstance(self.min_count, int) or self.min_count < 1:
            raise InputError(f"data.vocabulary.min_count={self.min_count}: must be an integer of at least 1")
        least = len(SPECIAL) + 1
        if self.size is not None and (not isinstance(self.size, int) or self.size < least):
            raise InputError(f"data.vocabulary.size={self.size}: must be an integer of at least {least}")
        if self.tokenizer == SENTENCEPIECE and self.file is None and self.size is None:
            raise InputError("data.vocabulary.size: tokenizer sentencepiece needs a number of pieces")
        if self.also is not None and (self.file is not None or self.tokenizer == SENTENCEPIECE):
            why = f"file={self.file} says which" if self.file is not None else "pieces make all"
            raise InputError(f"data.vocabulary.also={self.also}: {why} words are known; leave it out")

    def vocabulary(self, train: CaptionFile, val: CaptionFile, whole: Sequence[CaptionFile]) -> Vocabulary:
        """Return the vocabulary.

        Args:
            train: captions to train on.
            val: captions to validate on.
            whole: every image of the files of both.

        Raises:
            InputError: there is no such tokeniser, or the file is no vocabulary.
        """
        if self.file is not None:
            path = Path(self.file)
            if path.suffix == ".txt":
                return Vocabulary.from_list(path, self.tokenizer)
            if path.suffix == ".model":
                return Vocabulary.of_pieces(SubwordModel.load(path))
            return Vocabulary.load(path)
        files = {"train": [train], "train_val": [train, val], "all": whole}[self.counted]
        if self.tokenizer == SENTENCEPIECE and self.size is not None:
            return Vocabulary.of_pieces(SubwordModel.learn(_texts(files), self.size - len(SPECIAL)))
        vocabulary = Vocabulary.count(
            _texts(files), tokenizer=self.tokenizer, min_count=self.min_count, size=self.size
        )
        if self.also is None:
            return vocabulary
        more = vocabulary.with_words(read_text(self.also).splitlines())
        added = len(more) - len(vocabulary)
        log.info(
            f"{self.also}: {added:,} words are in no vocabulary of the captions: their vectors alone say them"
        )
        return more

    def __str__(self) -> str:
        """Say it in words."""
        if self.file is not None:
            return self.file
        where = {"train": "the captions", "train_val": "train and val", "all": "the whole file"}[self.counted]
        if self.tokenizer == SENTENCEPIECE:
            return f"{self.size:,} pieces of words in {where}"
        most = "" if self.size is None else f", {self.size:,} at most"
        also = "" if self.also is None else f", and the words of {self.also}"
        return f"{self.tokenizer}, at least {self.min_count} times in {where}{most}{also}"


def _texts(files: Sequence[CaptionFile]) -> Iterator[str]:
    """Yield the captions of some files, those of an image that is in two of them once."""
    captions = {(file.path, i): texts for file in files for i, texts in file.captions.items()}
    for texts in captions.values():
        yield from texts
