"""Words and their indices."""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from bua.errors import InputError
from bua.io.json_file import read_json
from bua.io.text_file import read_text
from bua.text.subwords import WORD_START, SubwordModel, joined
from bua.text.tokenize import TOKENIZERS, Tokenizer

PADDING, BOS, EOS, UNKNOWN = 0, 1, 2, 3
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
#: The rule that needs a model of its own.
SENTENCEPIECE = "sentencepiece"
#: What special words are called in lists of words of other projects.
_SPECIAL_LINES = frozenset(
    [*SPECIAL, "<start>", "<end>", "<sos>", "<s>", "</s>", "<BOS>", "<EOS>", "<PAD>", "<UNK>", "UNK"]
    + ["[PAD]", "[SOS]", "[EOS]", "[UNK]", "@@PADDING@@", "@@BOUNDARY@@", "@@UNKNOWN@@"]
)


class Vocabulary:
    """Words by index: padding, beginning, end and unknown are 0, 1, 2, 3; words, or pieces of words, follow.

    Args:
        words: without the special ones, in the order of their indices.
        tokenizer: name of the rule that made them, a key of ``TOKENIZERS`` or ``SENTENCEPIECE``.
        pieces: the model of the latter.

    Raises:
        InputError: a word comes twice or is a special one, or there is no such tokeniser.
    """

    def __init__(self, words: Sequence[str], tokenizer: str, pieces: SubwordModel | None = None) -> None:
        self._split = pieces.split if pieces else _rule(tokenizer)
        self.words = (*SPECIAL, *words)
        self.tokenizer, self.pieces = tokenizer, pieces
        self._index = {word: n for n, word in enumerate(self.words)}
        if len(self._index) != len(self.words):
            twice = Counter(self.words).most_common(1)[0][0]
            raise InputError(f"a vocabulary holds {twice!r} twice")

    @classmethod
    def count(
        cls, texts: Iterable[str], *, tokenizer: str, min_count: int, size: int | None = None
    ) -> "Vocabulary":
        """Take every word that occurs at least ``min_count`` times, the most frequent first.

        With ``size`` there are at most so many with the special ones.
        """
        split = _rule(tokenizer)
        counts = Counter(word for text in texts for word in split(text))
        kept = [w for w, n in counts.items() if n >= min_count and w not in SPECIAL]
        words = sorted(kept, key=lambda word: (-counts[word], word))
        return cls(words if size is None else words[: size - len(SPECIAL)], tokenizer)

    @classmethod
    def of_pieces(cls, pieces: SubwordModel) -> "Vocabulary":
        """Return the pieces of a model of SentencePiece."""
        return cls(pieces.words, SENTENCEPIECE, pieces)

    def with_words(self, texts: Iterable[str]) -> "Vocabulary":
        """Return a vocabulary that has the words of some texts, too, behind its own."""
        new = dict.fromkeys(word for text in texts for word in self._split(text))
        more = [word for word in new if word not in self._index]
        return Vocabulary([*self.words[len(SPECIAL) :], *more], self.tokenizer, self.pieces)

    def __len__(self) -> int:
        return len(self.words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def index(self, word: str) -> int | None:
        """Return the index of a whole word, ``None`` if it is not known or not in one piece."""
        return self._index.get(WORD_START + word if self.pieces else word)

    def tokenize(self, text: str) -> list[str]:
        """Split a text by the rule that made the vocabulary."""
        return self._split(text)

    def encode(self, text: str) -> list[int]:
        """Return the indices of the words of a text, without beginning and end."""
        return [self._index.get(word, UNKNOWN) for word in self.tokenize(text)]

    def decode(self, indices: Iterable[int]) -> list[str]:
        """Return the words up to the first end, without padding and beginning, pieces put together."""
        return [word for word, _ in self.spoken(indices)]

    def spoken(self, indices: Iterable[int]) -> list[tuple[str, int]]:
        """Return what ``decode`` does, with how many indices make each word."""
        kept = (n for n in takewhile(lambda n: n != EOS, indices) if n not in (PADDING, BOS))
        words = (self.words[n] for n in kept)
        return joined(words) if self.pieces else [(word, 1) for word in words]

    @property
    def sha256(self) -> str:
        """Hash of words and tokeniser."""
        content: list[Any] = [list(self.words), self.tokenizer]
        if self.pieces:
            content.append(hashlib.sha256(self.pieces.model).hexdigest())
        return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that ``from_dict`` reads."""
        content: dict[str, Any] = {
            "tokenizer": self.tokenizer,
            "words": list(self.words),
            "sha256": self.sha256,
        }
        if self.pieces:
            content["model"] = base64.b64encode(self.pieces.model).decode()
        return content

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
        try:
            model = base64.b64decode(content.get("model", ""), validate=True)
        except (TypeError, ValueError):
            raise InputError(f"{source}: its model of SentencePiece is not in base64") from None
        pieces = SubwordModel(model, source) if model else None
        vocabulary = cls(words[len(SPECIAL) :], str(content.get("tokenizer")), pieces)
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


def _rule(tokenizer: str) -> Tokenizer:
    if tokenizer in TOKENIZERS:
        return TOKENIZERS[tokenizer]
    if tokenizer == SENTENCEPIECE:
        raise InputError(
            "tokenizer sentencepiece needs its model: data.vocabulary.file=NAME.model or vocabulary=virtex"
        )
    known = ", ".join([*TOKENIZERS, SENTENCEPIECE])
    raise InputError(f"there is no tokenizer {tokenizer!r}; there is {known}")
