"""Which words a captioner knows: counted in caption files, or read from a file."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bua.data.captions.files import CaptionFile
from bua.errors import InputError
from bua.io.files import read_text
from bua.text.subwords import SubwordModel
from bua.text.vocabulary import SENTENCEPIECE, SPECIAL, Vocabulary

log = logging.getLogger(__name__)
#: Which captions may be counted.
COUNT_FROM = ("train", "train_val", "all")


@dataclass(frozen=True, kw_only=True)
class VocabularyOptions:
    """How the vocabulary of a captioner is made.

    Attributes:
        tokenizer: Name of the tokenizer, or ``sentencepiece``, which learns subwords.
        min_count: Number of occurrences from which a word is known.
        count_from: Captions to count: "train" for those to train on, "train_val" also for those to
            validate on, "all" for those of every image of both files, whatever its split.
        file: Vocabulary of a run, a list of words, one a line (``.txt``), or a SentencePiece model
            (``.model``) to use instead of counting. Default: count.
        size: Largest number of words or subwords, the four special ones included. Default: no limit.
        extra_words: Text file of words that are also known, however rare, such as those of constraints.
            Default: none.

    Raises:
        InputError: If an option has the wrong type or value, or two of them contradict each other.
    """

    tokenizer: str
    min_count: int
    count_from: str
    file: str | None = None
    size: int | None = None
    extra_words: str | None = None

    def __post_init__(self) -> None:
        if self.count_from not in COUNT_FROM:
            raise InputError(
                f"data.vocabulary.count_from={self.count_from}: must be one of {', '.join(COUNT_FROM)}"
            )
        if not isinstance(self.min_count, int) or self.min_count < 1:
            raise InputError(f"data.vocabulary.min_count={self.min_count}: must be an integer of at least 1")
        least = len(SPECIAL) + 1
        if self.size is not None and (not isinstance(self.size, int) or self.size < least):
            raise InputError(f"data.vocabulary.size={self.size}: must be an integer of at least {least}")
        if self.tokenizer == SENTENCEPIECE and self.file is None and self.size is None:
            raise InputError("data.vocabulary.size: tokenizer sentencepiece needs the number of subwords")
        if self.extra_words is not None and (self.file is not None or self.tokenizer == SENTENCEPIECE):
            reason = f"file={self.file} already lists" if self.file is not None else "subwords spell"
            key = f"data.vocabulary.extra_words={self.extra_words}"
            raise InputError(f"{key}: {reason} all words; leave it out")

    def build(self, train: CaptionFile, val: CaptionFile, files: Sequence[CaptionFile]) -> Vocabulary:
        """Return the vocabulary.

        Args:
            train: Captions to train on.
            val: Captions to validate on.
            files: All images of the files of both.

        Raises:
            InputError: If the tokenizer does not exist or the file is not a vocabulary.
        """
        if self.file is not None:
            return self._load(Path(self.file))
        counted = {"train": [train], "train_val": [train, val], "all": files}[self.count_from]
        if self.tokenizer == SENTENCEPIECE and self.size is not None:
            return Vocabulary.from_subwords(SubwordModel.train(_texts(counted), self.size - len(SPECIAL)))
        vocabulary = Vocabulary.from_texts(
            _texts(counted), tokenizer=self.tokenizer, min_count=self.min_count, size=self.size
        )
        if self.extra_words is None:
            return vocabulary
        extended = vocabulary.with_words(read_text(self.extra_words).splitlines())
        log.info(
            f"{self.extra_words}: adds {len(extended) - len(vocabulary):,} words that the captions do not "
            "have; only word vectors can teach them"
        )
        return extended

    def _load(self, path: Path) -> Vocabulary:
        if path.suffix == ".txt":
            return Vocabulary.from_list(path, self.tokenizer)
        if path.suffix == ".model":
            return Vocabulary.from_subwords(SubwordModel.load(path))
        return Vocabulary.load(path)

    @property
    def sources(self) -> dict[str, str]:
        """The files behind the vocabulary, by role."""
        files = {"vocabulary": self.file, "extra_words": self.extra_words}
        return {role: path for role, path in files.items() if path is not None}

    def __str__(self) -> str:
        """Describe the vocabulary in words."""
        if self.file is not None:
            return self.file
        where = {"train": "the captions", "train_val": "train and val", "all": "the whole file"}
        if self.tokenizer == SENTENCEPIECE:
            return f"{self.size:,} subwords of {where[self.count_from]}"
        limit = "" if self.size is None else f", at most {self.size:,}"
        extra = "" if self.extra_words is None else f", and the words of {self.extra_words}"
        return f"{self.tokenizer}, at least {self.min_count} times in {where[self.count_from]}{limit}{extra}"


def _texts(files: Sequence[CaptionFile]) -> Iterator[str]:
    """Yield the captions of some files, those of an image that is in two of them once."""
    captions = {(file.path, i): texts for file in files for i, texts in file.captions.items()}
    for texts in captions.values():
        yield from texts
