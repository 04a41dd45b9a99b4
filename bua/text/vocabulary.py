"""Map words, or subwords, to indices."""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from bua.errors import InputError
from bua.io.files import read_json, read_text
from bua.io.schema import validate
from bua.io.write import write_text
from bua.text.subwords import WORD_START, SubwordModel, join_subwords
from bua.text.tokenize import TOKENIZERS, Tokenizer

PADDING, BOS, EOS, UNKNOWN = 0, 1, 2, 3
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
#: The tokenizer that needs a trained model.
SENTENCEPIECE = "sentencepiece"
#: Special tokens by the names that vocabulary files of other projects use.
_SPECIAL_NAMES = frozenset(
    [*SPECIAL, "<start>", "<end>", "<sos>", "<s>", "</s>", "<BOS>", "<EOS>", "<PAD>", "<UNK>", "UNK"]
    + ["[PAD]", "[SOS]", "[EOS]", "[UNK]", "@@PADDING@@", "@@BOUNDARY@@", "@@UNKNOWN@@"]
)


class _Content(TypedDict):
    words: list[str]
    tokenizer: str
    sha256: str
    model: NotRequired[str]


class Vocabulary:
    """Words, or subwords, by index.

    Indices 0 to 3 are padding, beginning of sequence, end of sequence and unknown.

    Args:
        words: Words without the special tokens, in the order of their indices.
        tokenizer: Name of the tokenizer, a key of ``TOKENIZERS`` or ``SENTENCEPIECE``.
        subword_model: Model of the latter.

    Raises:
        InputError: If a word is duplicated or equal to a special token, or if the tokenizer is unknown.
    """

    def __init__(
        self, words: Sequence[str], tokenizer: str, subword_model: SubwordModel | None = None
    ) -> None:
        self._tokenize = subword_model.tokenize if subword_model else _find_tokenizer(tokenizer)
        self.words = (*SPECIAL, *words)
        self.tokenizer, self.subword_model = tokenizer, subword_model
        self._index = {word: n for n, word in enumerate(self.words)}
        if len(self._index) != len(self.words):
            duplicate = Counter(self.words).most_common(1)[0][0]
            raise InputError(f"word {duplicate!r} of the vocabulary is duplicated")

    @classmethod
    def from_texts(
        cls, texts: Iterable[str], *, tokenizer: str, min_count: int, size: int | None = None
    ) -> "Vocabulary":
        """Build a vocabulary of the words of texts, ordered by decreasing count, ties alphabetically.

        Args:
            texts: Captions or questions.
            tokenizer: Name of the tokenizer, a key of ``TOKENIZERS``.
            min_count: Minimum number of occurrences of a word.
            size: Maximum size of the vocabulary including the special tokens; no limit by default.
        """
        tokenize = _find_tokenizer(tokenizer)
        counts = Counter(word for text in texts for word in tokenize(text))
        kept = [w for w, n in counts.items() if n >= min_count and w not in SPECIAL]
        words = sorted(kept, key=lambda word: (-counts[word], word))
        return cls(words if size is None else words[: size - len(SPECIAL)], tokenizer)

    @classmethod
    def from_subwords(cls, model: SubwordModel) -> "Vocabulary":
        """Return the vocabulary of the subwords of a SentencePiece model."""
        return cls(model.subwords, SENTENCEPIECE, model)

    def with_words(self, texts: Iterable[str]) -> "Vocabulary":
        """Return a vocabulary extended by the words of texts, which follow its own words."""
        new = dict.fromkeys(word for text in texts for word in self.tokenize(text))
        added = [word for word in new if word not in self._index]
        return Vocabulary([*self.words[len(SPECIAL) :], *added], self.tokenizer, self.subword_model)

    def __len__(self) -> int:
        return len(self.words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def index(self, word: str) -> int | None:
        """Return the index of a word, or ``None`` if it is unknown or consists of several subwords."""
        return self._index.get(WORD_START + word if self.subword_model else word)

    def tokenize(self, text: str) -> list[str]:
        """Split a text into words or subwords."""
        return self._tokenize(text)

    def encode(self, text: str) -> list[int]:
        """Return the indices of the tokens of a text, without beginning and end of sequence."""
        return [self._index.get(word, UNKNOWN) for word in self.tokenize(text)]

    def decode(self, indices: Iterable[int]) -> list[str]:
        """Return the words up to the first end of sequence, joining subwords and skipping padding."""
        return [word for word, _ in self.decode_with_lengths(indices)]

    def decode_with_lengths(self, indices: Iterable[int]) -> list[tuple[str, int]]:
        """Return the words as ``decode`` does, each with the number of indices that it consists of."""
        kept = (n for n in takewhile(lambda n: n != EOS, indices) if n not in (PADDING, BOS))
        words = (self.words[n] for n in kept)
        return join_subwords(words) if self.subword_model else [(word, 1) for word in words]

    @property
    def sha256(self) -> str:
        """SHA-256 of the words and the tokenizer."""
        content: list[Any] = [list(self.words), self.tokenizer]
        if self.subword_model:
            content.append(hashlib.sha256(self.subword_model.serialized).hexdigest())
        return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the vocabulary as plain values for ``from_dict``."""
        content: dict[str, Any] = {
            "tokenizer": self.tokenizer,
            "words": list(self.words),
            "sha256": self.sha256,
        }
        if self.subword_model:
            content["model"] = base64.b64encode(self.subword_model.serialized).decode()
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], source: str = "vocabulary") -> "Vocabulary":
        """Rebuild a vocabulary from the result of ``to_dict``.

        Args:
            content: Plain values.
            source: Where they come from, for error messages.

        Raises:
            InputError: If ``content`` is not a vocabulary, or does not match its hash.
        """
        validate(content, _Content, source, "not a vocabulary")
        words: list[str] = content["words"]
        if tuple(words[: len(SPECIAL)]) != SPECIAL:
            raise InputError(f"{source}: not a vocabulary, the words must begin with {' '.join(SPECIAL)}")
        try:
            serialized = base64.b64decode(content.get("model", ""), validate=True)
        except (TypeError, ValueError):
            raise InputError(f"{source}: the SentencePiece model is not valid base64") from None
        model = SubwordModel(serialized, source) if serialized else None
        vocabulary = cls(words[len(SPECIAL) :], content["tokenizer"], model)
        if vocabulary.sha256 != content["sha256"]:
            raise InputError(
                f"{source}: the hash of the words is {vocabulary.sha256}, but {content['sha256']} "
                "was stored with them"
            )
        return vocabulary

    def save(self, path: Path) -> None:
        """Write the vocabulary and its hash as JSON."""
        write_text(path, json.dumps(self.to_dict(), ensure_ascii=False, indent=0))

    @classmethod
    def from_list(cls, path: Path, tokenizer: str) -> "Vocabulary":
        """Read a text file with one word per line, in the order of their indices.

        Special tokens, by any of their usual names, are dropped: bua's own four come first.

        Args:
            path: Text file, UTF-8.
            tokenizer: Name of the tokenizer to use, which the file does not state.

        Raises:
            InputError: If the file does not exist, or if a line is not one word or duplicates another.
        """
        lines: dict[str, int] = {}
        for number, line in enumerate(read_text(path).splitlines(), 1):
            word = line.strip()
            if len(word.split()) != 1:
                raise InputError(f"{path}: line {number} is {word!r:.80}, expected one word per line")
            if word in lines:
                raise InputError(f"{path}: {word!r} is duplicated on lines {lines[word]} and {number}")
            lines[word] = number
        words = [word for word in lines if word not in _SPECIAL_NAMES]
        if not words:
            raise InputError(f"{path}: contains no words")
        return cls(words, tokenizer)

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read a vocabulary that ``save`` wrote.

        Raises:
            InputError: If the file does not exist or is not a vocabulary.
        """
        return cls.from_dict(read_json(path), str(path))


def _find_tokenizer(name: str) -> Tokenizer:
    if name in TOKENIZERS:
        return TOKENIZERS[name]
    if name == SENTENCEPIECE:
        raise InputError(
            "tokenizer sentencepiece requires a model: set data.vocabulary.file=NAME.model or "
            "vocabulary=virtex"
        )
    known = ", ".join([*TOKENIZERS, SENTENCEPIECE])
    raise InputError(f"unknown tokenizer {name!r}, expected one of {known}")
