"""Normalize VQA answers, and hold the list of answers that a model chooses from.

Normalization follows the official VQA v2 evaluation (``vqaEval.py`` as of 2021), quirks included.
"""

import functools
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from bua.errors import InputError
from bua.io.schema import validate
from bua.text.answer_lists import read_answer_list
from bua.text.contractions import CONTRACTIONS

#: Soft target score of an answer that n of N annotators gave, by the name of the rule.
SOFT_SCORES: dict[str, Callable[[int, int], float]] = {
    "official": lambda n, total: (n * min(1, (n - 1) / 3) + (total - n) * min(1, n / 3)) / total,
    "third": lambda n, total: min(1, n / 3),
    "tenth": lambda n, total: n / total,
}

_NUMBERS = {
    word: str(n)
    for n, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    )
} | {"none": "0"}
_ARTICLES = frozenset(["a", "an", "the"])
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_DIGIT_COMMA = re.compile(r"\d,\d")
#: A period that is not followed by a digit; the official look-behind is mistyped and never matches.
_PERIOD = re.compile(r"(?!<=\d)(\.)(?!\d)")
_MAX_PERIODS = int(re.UNICODE)  # the official code passes the flag as the count: 32


def clean(answer: str) -> str:
    """Replace line breaks and tabs by spaces and strip, as the evaluation does with every answer."""
    return answer.replace("\n", " ").replace("\t", " ").strip()


def remove_punctuation(answer: str) -> str:
    """Delete punctuation or replace it by spaces, as ``processPunctuation`` of the evaluation does."""
    out = answer
    has_digit_comma = _DIGIT_COMMA.search(answer) is not None
    for mark in _PUNCTUATION:
        next_to_space = f"{mark} " in answer or f" {mark}" in answer
        out = out.replace(mark, "" if next_to_space or has_digit_comma else " ")
    return _PERIOD.sub("", out, count=_MAX_PERIODS)


def normalize_words(answer: str) -> str:
    """Lowercase, write number words as digits, drop articles and restore apostrophes of contractions."""
    words = (_NUMBERS.get(word, word) for word in answer.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


@functools.lru_cache(maxsize=2**17)  # the millions of answers have about a hundred thousand distinct texts
def normalize(answer: str) -> str:
    """Return the normalized answer, which may be empty."""
    return normalize_words(remove_punctuation(clean(answer)))


class _Content(TypedDict):
    answers: list[str]
    surface: list[str]
    sha256: str


class AnswerVocabulary:
    """The answers that a VQA model chooses from.

    Args:
        answers: Normalized answers in the order of their indices.
        surface_forms: Text to predict for each answer, usually its most frequent raw form. The
            evaluation compares raw texts where all annotators agree, so this can only raise accuracy.
        forms_counted: Whether the surface forms were counted in annotations; if not, they are the
            texts of a published answer list.

    Raises:
        InputError: If an answer is duplicated or not a string, or if a surface form does not
            normalize to its answer.
    """

    def __init__(
        self, answers: Sequence[str], surface_forms: Sequence[str], *, forms_counted: bool = True
    ) -> None:
        self.answers, self.surface_forms = tuple(answers), tuple(surface_forms)
        self._forms_counted = forms_counted
        if len(self.surface_forms) != len(self.answers):
            raise InputError(
                f"{len(self.answers):,} answers have {len(self.surface_forms):,} surface forms, "
                "expected one for each"
            )
        for answer, form in zip(self.answers, self.surface_forms, strict=True):
            if not (isinstance(answer, str) and isinstance(form, str)):
                raise InputError(
                    f"answer {answer!r:.80} and its surface form {form!r:.80} must both be strings"
                )
            if normalize(form) != answer != form:
                raise InputError(f"surface form {form!r:.80} does not normalize to answer {answer!r:.80}")
        self._index = {answer: n for n, answer in enumerate(self.answers)}
        if len(self._index) != len(self.answers):
            raise InputError(f"answer {Counter(self.answers).most_common(1)[0][0]!r} is duplicated")

    @classmethod
    def from_questions(
        cls,
        questions: Iterable[tuple[str, Sequence[str]]],
        *,
        min_count: int,
        keep_empty: bool,
    ) -> "AnswerVocabulary":
        """Build a vocabulary of the answers that are most frequent for at least ``min_count`` questions.

        Answers are normalized before they are counted. They are ordered by decreasing count, ties
        alphabetically.

        Args:
            questions: Most frequent answer and all answers of each question.
            min_count: Minimum number of questions. The usual value of 9 gives the 3,129 answers of
                VQA v2 train and val, including the empty one.
            keep_empty: Whether to keep the empty answer, to which bare articles normalize.
        """
        most_frequent: Counter[str] = Counter()
        raw_counts: Counter[str] = Counter()
        for answer, answers in questions:
            most_frequent[answer] += 1
            raw_counts.update(answers)
        counts: Counter[str] = Counter()
        for text, n in most_frequent.items():
            counts[normalize(text)] += n
        kept = [a for a, n in counts.items() if n >= min_count and (a or keep_empty)]
        kept.sort(key=lambda answer: (-counts[answer], answer))
        return cls(kept, _surface_forms(kept, raw_counts, kept))

    def with_surface_forms_from(self, texts: Iterable[str]) -> "AnswerVocabulary":
        """Return the same answers with their most frequent forms in ``texts``, unless already counted.

        The forms of published answer lists are not counted. An answer that does not occur in
        ``texts`` keeps its surface form.

        Args:
            texts: Raw answers of annotators.
        """
        if self._forms_counted:
            return self
        return AnswerVocabulary(
            self.answers, _surface_forms(self.answers, Counter(texts), self.surface_forms)
        )

    def __len__(self) -> int:
        return len(self.answers)

    def index(self, answer: str) -> int | None:
        """Return the index of a normalized answer, or ``None`` if it is not in the vocabulary."""
        return self._index.get(answer)

    def soft_scores(
        self, answers: Sequence[str], rule: str = "official", *, raw: bool = False
    ) -> dict[int, float]:
        """Return the soft target scores of the annotators' answers, by index in the vocabulary.

        Args:
            answers: Raw answer of every annotator.
            rule: Score of an answer that n of N annotators gave.
                ``official``: expected accuracy of predicting it, min(1, other annotators who agree / 3)
                averaged over leaving out each annotator: 0.3, 0.6, 0.9, 1 for 1, 2, 3, 4 of ten;
                ``third``: min(1, n / 3);
                ``tenth``: n / N.
                The answer of a single annotator scores 1 under every rule, since there is nobody
                else to agree.
            raw: Whether only the answers that an annotator wrote in their normalized form are counted, as in
                hengyuan-hu's code and BAN; "T-shirt" then does not count for "t shirt". The answer of a
                single annotator is always normalized. Default: no.

        Raises:
            ValueError: If the rule is unknown.
        """
        if rule not in SOFT_SCORES:
            raise ValueError(f"unknown rule {rule!r}, expected one of {', '.join(SOFT_SCORES)}")
        total, score = len(answers), SOFT_SCORES[rule]
        counted = answers if raw and total > 1 else map(normalize, answers)
        return {
            self._index[answer]: score(n, total) if total > 1 else 1.0
            for answer, n in Counter(counted).items()
            if answer in self._index
        }

    @property
    def sha256(self) -> str:
        """SHA-256 of the answers in the order of their indices."""
        return hashlib.sha256(json.dumps(self.answers, ensure_ascii=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the vocabulary as plain values for ``from_dict``."""
        return {"answers": list(self.answers), "surface": list(self.surface_forms), "sha256": self.sha256}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], source: str = "answers") -> "AnswerVocabulary":
        """Rebuild a vocabulary from the result of ``to_dict``.

        Args:
            content: Plain values.
            source: Where they come from, for error messages.

        Raises:
            InputError: If ``content`` is not an answer vocabulary, or does not match its hash.
        """
        validate(content, _Content, source, "not an answer vocabulary")
        try:
            vocabulary = cls(content["answers"], content["surface"])
        except InputError as error:
            raise InputError(f"{source}: {error}") from None
        if vocabulary.sha256 != content["sha256"]:
            raise InputError(
                f"{source}: the hash of the answers is {vocabulary.sha256}, but {content['sha256']} "
                "was stored with them"
            )
        return vocabulary

    @classmethod
    def load(cls, path: Path | str) -> "AnswerVocabulary":
        """Read a vocabulary or a published answer list, see ``bua.text.answer_lists``.

        The order is kept. The texts of a published list are the surface forms, and their normalized
        forms are the answers.

        Raises:
            InputError: If the file is not an answer list, or if two answers normalize to the same text.
        """
        content = read_answer_list(path)
        if isinstance(content, Mapping):
            return cls.from_dict(content, str(path))
        first_form: dict[str, str] = {}
        for text in content:
            other = first_form.setdefault(normalize(text), text)
            if other is not text:
                raise InputError(
                    f"{path}: {other!r} and {text!r} are the same answer, both normalize to "
                    f"{normalize(text)!r}"
                )
        return cls(list(first_form), content, forms_counted=False)


def _surface_forms(
    answers: Sequence[str], raw_counts: Mapping[str, int], defaults: Sequence[str]
) -> list[str]:
    """Return the most frequent raw form of each answer.

    Args:
        answers: Normalized answers.
        raw_counts: Number of occurrences of each raw answer; of equally frequent forms, the
            alphabetically first is taken.
        defaults: Surface forms of answers that do not occur.
    """
    forms: dict[str, Counter[str]] = {answer: Counter() for answer in answers}
    for text, n in raw_counts.items():
        if normalize(text) in forms:
            forms[normalize(text)][clean(text)] += n
    return [
        min(counts.items(), key=lambda form: (-form[1], form[0]))[0] if counts else default
        for counts, default in zip(forms.values(), defaults, strict=True)
    ]
