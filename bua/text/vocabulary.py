"""Words and their indices."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bua.errors import InputError
from bua.json_file import read_json
from bua.text.tokenize import TOKENIZERS
from bua.text_file import read_text

PADDING, BOS, EOS, UNKNOWN = 0, 1, 2, 3
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
#: What special words are called in lists of words of other projects.
_SPECIAL_LINES = frozenset(
    [*SPECIAL, "<start>", "<end>", "<sos>", "<s>", "</s>", "<BOS>", "<EOS>", "<PAD>", "<UNK>", "UNK"]
    + ["[PAD]", "[SOS]", "[EOS]", "[UNK]", "@@PADDING@@", "@@BOUNDARY@@", "@@UNKNOWN@@"]
)


class Vocabulary:
    """Words by index: padding, beginning, end and unknown are 0, 1, 2, 3; words follow.

    Args:
        words: without the special ones, in the order of their indices.
        tokenizer: name of the rule that made them, a key of ``TOKENIZERS``.

    Raises:
        InputError: a word comes twice or is a special one, or there is no such tokeniser.
    """

    def __init__(self, words: Sequence[str], tokenizer: str) -> None:
        if tokenizer not in TOKENIZERS:
            raise InputError(f"there is no tokenizer {tokenizer!r}; there is {', '.join(TOKENIZERS)}")
        self.words = (*SPECIAL, *words)
        self.tokenizer = tokenizer
        self._index = {word: n for n, word in enumerate(self.words)}
        if len(self._index) != len(self.words):
            twice = Counter(self.words).most_common(1)[0][0]
            raise InputError(f"a vocabulary holds {twice!r} twice")

    @classmethod
    def count(cls, texts: Iterable[str], *, tokenizer: str, min_count: int) -> "Vocabulary":
        """Take every word that occurs at least ``min_count`` times, the most frequent first."""
        if tokenizer not in TOKENIZERS:
            raise InputError(f"there is no tokenizer {tokenizer!r}; there is {', '.join(TOKENIZERS)}")
        counts = Counter(word for text in texts for word in TOKENIZERS[tokenizer](text))
        kept = [w for w, n in counts.items() if n >= min_count and w not in SPECIAL]
        return cls(sorted(kept, key=lambda word: (-counts[word], word)), tokenizer)

    def __len__(self) -> int:
        return len(self.words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def index(self, word: str) -> int | None:
        """Return the index of a word, ``None`` if it is not known."""
        return self._index.get(word)

    def tokenize(self, text: str) -> list[str]:
        """Split a text by the rule that made the vocabulary."""
        return TOKENIZERS[self.tokenizer](text)

    def encode(self, text: str) -> list[int]:
        """Return the indices of the words of a text, without beginning and end."""
        return [self._index.get(word, UNKNOWN) for word in self.tokenize(text)]

    def decode(self, indices: Iterable[int]) -> list[str]:
        """Return the words up to the first end, without padding and beginning."""
        words = []
        for index in indices:
            if index == EOS:
                break
            if index not in (PADDING, BOS):
                words.append(self.words[index])
        return words

    @property
    def sha256(self) -> str:
        """Hash of words and tokeniser."""
        content = json.dumps([list(self.words), self.tokenizer], ensure_ascii=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that ``from_dict`` reads."""
        return {"tokenizer": self.tokenizer, "words": list(self.words), "sha256": self.sha256}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], source: str = "vocabulary") -> "Vocabulary":
        """Read what ``to_dict`` returned.

        Raises:
            InputError: it is not a vocabulary, or was changed since its hash was taken.
        """
        words = content.get("words")
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise InputError(f'{source}: not a vocabulary: a list "words" of texts is needed')
        if tuple(words[: len(SPECIAL)]) != SPECIAL:
            raise InputError(f"{source}: not a vocabulary: its words must begin with {' '.join(SPECIAL)}")
        vocabulary = cls(words[len(SPECIAL) :], str(content.get("tokenizer")))
        if vocabulary.sha256 != content.get("sha256"):
            raise InputError(
                f"{source}: its words do not have the hash written in it: {content.get('sha256')} "
                f"instead of {vocabulary.sha256}"
            )
        return vocabulary

    def save(self, path: Path) -> None:
        """Write JSON with the hash in it."""
        path.write_text(json.dumps(self.to_dict(), ensure_ascii=False, indent=0), encoding="utf-8")

    @classmethod
    def from_list(cls, path: Path, tokenizer: str) -> "Vocabulary":
        """Read a word a line, in the order of their indices.

        Special words, by any of their usual names, are left out: there are four, and they come first.

        Args:
            path: the list.
            tokenizer: makes words of texts; a list does not say which.

        Raises:
            InputError: there is no such file, or a line is no word, or one that was there before.
        """
        found: dict[str, int] = {}
        for number, line in enumerate(read_text(path).splitlines(), 1):
            word = line.strip()
            if len(word.split()) != 1:
                raise InputError(f"{path}: line {number} is {word!r:.80}; one word a line is needed")
            if word in found:
                raise InputError(f"{path}: {word!r} is in lines {found[word]} and {number}")
            found[word] = number
        words = [word for word in found if word not in _SPECIAL_LINES]
        if not words:
            raise InputError(f"{path}: there are no words in it")
        return cls(words, tokenizer)

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read what ``save`` wrote.

        Raises:
            InputError: there is no such file, or it is not a vocabulary.
        """
        content = read_json(path)
        if not isinstance(content, dict):
            raise InputError(f"{path}: not a vocabulary, which is a JSON object with words")
        return cls.from_dict(content, str(path))
