"""Subword tokenization by SentencePiece, as in VirTex (Desai and Johnson 2021, section 3)."""

import importlib
import io
import re
import unicodedata
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from bua.errors import InputError

#: First character of the subwords that begin a word.
WORD_START = "\u2581"


class SubwordModel:
    """Splits text into subwords by a SentencePiece model.

    Args:
        serialized: Content of a SentencePiece model file.
        source: Where the model comes from, for error messages.

    Raises:
        InputError: If this is not a SentencePiece model, or if SentencePiece is not installed.
    """

    def __init__(self, serialized: bytes, source: str = "vocabulary") -> None:
        self.serialized, self._processor = serialized, _library().SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(serialized)
        except RuntimeError:
            raise InputError(f"{source}: not a SentencePiece model") from None

    @classmethod
    def train(cls, texts: Iterable[str], size: int) -> "SubwordModel":
        """Train byte-pair encoding that covers all characters of the texts.

        Args:
            texts: Captions.
            size: Number of subwords.

        Raises:
            InputError: If the texts have too few or too many characters for this number of subwords.
        """
        buffer = io.BytesIO()
        try:
            _library().SentencePieceTrainer.train(
                sentence_iterator=map(lowercase_and_strip_accents, texts),
                model_writer=buffer,
                model_type="bpe",
                vocab_size=size + 1,  # includes the unknown token
                character_coverage=1.0,
                bos_id=-1,
                eos_id=-1,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise InputError(
                f"cannot make {size:,} subwords from these captions{_limit(str(error))}; change "
                "data.vocabulary.size, which includes the four special tokens"
            ) from None
        return cls(buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> "SubwordModel":
        """Read a SentencePiece model file.

        Raises:
            InputError: If the file does not exist or is not a SentencePiece model.
        """
        try:
            return cls(path.read_bytes(), str(path))
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from None

    @cached_property
    def subwords(self) -> list[str]:
        """Subwords in the order of their indices, without control tokens and the unknown token."""
        sp = self._processor
        indices = range(sp.GetPieceSize())
        return [sp.IdToPiece(n) for n in indices if not sp.IsControl(n) and not sp.IsUnknown(n)]

    def tokenize(self, text: str) -> list[str]:
        """Return the subwords of a text; characters that the model does not know are kept."""
        subwords: list[str] = self._processor.EncodeAsPieces(lowercase_and_strip_accents(text))
        return subwords


def lowercase_and_strip_accents(text: str) -> str:
    """Return a text in lower case and without accents."""
    decomposed = unicodedata.normalize("NFKD", text.lower())
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def join_subwords(subwords: Iterable[str]) -> list[tuple[str, int]]:
    """Return the words that subwords form, each with its number of subwords."""
    words: list[tuple[str, int]] = []
    for subword in subwords:
        word, count = words.pop() if words else ("", 0)
        if subword.startswith(WORD_START) and word:
            words.append((word, count))
            word, count = "", 0
        words.append((word + subword.removeprefix(WORD_START), count + 1))
    return words if not words or words[-1][0] else words[:-1]


def _limit(error: str) -> str:
    """Return the limit that an error message of SentencePiece names, in terms of ``size``."""
    if maximum := re.search(r"value <= (\d+)", error):
        return f", at most {int(maximum[1]) - 1:,}"
    if minimum := re.search(r"required_chars\. \d+ vs (\d+)", error):
        return f", at least {int(minimum[1]) - 1:,} (one for each character)"
    return f" ({error})"


def _library() -> Any:
    try:
        return importlib.import_module("sentencepiece")
    except ImportError:
        raise InputError(
            "tokenizer sentencepiece requires SentencePiece: pip install 'bua[sentencepiece]'"
        ) from None
