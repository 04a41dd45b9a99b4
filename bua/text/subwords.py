"""Pieces of words by SentencePiece, as VirTex has them (Desai and Johnson 2021, section 3)."""

import importlib
import io
import re
import unicodedata
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from bua.errors import InputError

#: Pieces that begin a word begin with it.
WORD_START = "\u2581"


class SubwordModel:
    """Splits texts into pieces of words by a SentencePiece model.

    Args:
        model: of SentencePiece, as the bytes of its file.
        source: what to name in errors.

    Raises:
        InputError: it is no such model, or SentencePiece is not installed.
    """

    def __init__(self, model: bytes, source: str = "vocabulary") -> None:
        self.model, self._processor = model, _library().SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except RuntimeError:
            raise InputError(f"{source}: not a model of SentencePiece") from None

    @classmethod
    def learn(cls, texts: Iterable[str], size: int) -> "SubwordModel":
        """Learn byte-pair encoding of all characters of some texts.

        Args:
            texts: captions.
            size: so many pieces.

        Raises:
            InputError: the texts have too few characters, or too many, for so many pieces.
        """
        written = io.BytesIO()
        try:
            _library().SentencePieceTrainer.train(
                sentence_iterator=map(plain, texts),
                model_writer=written,
                model_type="bpe",
                vocab_size=size + 1,  # the unknown piece is one of them
                character_coverage=1.0,
                bos_id=-1,
                eos_id=-1,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise InputError(
                f"these captions do not make {size:,} pieces of words{_limit(str(error))}; set "
                "data.vocabulary.size, which counts four special ones too"
            ) from None
        return cls(written.getvalue())

    @classmethod
    def load(cls, path: Path) -> "SubwordModel":
        """Read a model file of SentencePiece.

        Raises:
            InputError: there is no such file, or it is no such model.
        """
        try:
            return cls(path.read_bytes(), str(path))
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from None

    @cached_property
    def words(self) -> list[str]:
        """The pieces that texts are made of, in the order of their indices."""
        sp = self._processor
        numbers = range(sp.GetPieceSize())
        return [sp.IdToPiece(n) for n in numbers if not sp.IsControl(n) and not sp.IsUnknown(n)]

    def split(self, text: str) -> list[str]:
        """Return the pieces of a text; characters that the model does not know stand as they are."""
        pieces: list[str] = self._processor.EncodeAsPieces(plain(text))
        return pieces


def plain(text: str) -> str:
    """Lower-case, and take accents from letters."""
    marked = unicodedata.normalize("NFKD", text.lower())
    return "".join(sign for sign in marked if not unicodedata.combining(sign))


def joined(pieces: Iterable[str]) -> list[tuple[str, int]]:
    """Return the words that pieces make, and of how many pieces each is made."""
    words: list[tuple[str, int]] = []
    for piece in pieces:
        word, count = words.pop() if words else ("", 0)
        if piece.startswith(WORD_START) and word:
            words.append((word, count))
            word, count = "", 0
        words.append((word + piece.removeprefix(WORD_START), count + 1))
    return words if not words or words[-1][0] else words[:-1]


def _limit(error: str) -> str:
    """Say in words which number of pieces SentencePiece would take."""
    if most := re.search(r"value <= (\d+)", error):
        return f" but {int(most[1]) - 1:,} at most"
    if least := re.search(r"required_chars\. \d+ vs (\d+)", error):
        return f" but {int(least[1]) - 1:,} at least, one for each of their characters"
    return f" ({error})"


def _library() -> Any:
    try:
        return importlib.import_module("sentencepiece")
    except ImportError:
        raise InputError(
            "tokenizer sentencepiece needs SentencePiece: pip install 'bua[sentencepiece]'"
        ) from None
