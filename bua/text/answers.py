"""Answers of visual question answering: their normal form and the list that a model chooses from.

The normal form is that of the official evaluation (VQA v2, vqaEval.py as of 2021), with its quirks.
"""

import functools
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bua.errors import InputError
from bua.text.answer_lists import read_answer_list
from bua.text.contractions import CONTRACTIONS

#: What an answer that n of several annotators gave is worth as a target, by the name of the rule.
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
_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_DIGIT_COMMA = re.compile(r"\d,\d")
#: A full stop that no digit follows; the official look-behind is mistyped and never matches.
_PERIOD = re.compile(r"(?!<=\d)(\.)(?!\d)")
_MOST_PERIODS = int(re.UNICODE)  # the official code gives the flag as the count: 32


def clean(answer: str) -> str:
    """Turn line breaks and tabs into spaces and strip: what the evaluation does to every answer."""
    return answer.replace("\n", " ").replace("\t", " ").strip()


def remove_punctuation(answer: str) -> str:
    """Delete or replace punctuation as the evaluation's ``processPunctuation`` does."""
    out = answer
    comma = _DIGIT_COMMA.search(answer) is not None
    for mark in _MARKS:
        apart = f"{mark} " in answer or f" {mark}" in answer
        out = out.replace(mark, "" if apart or comma else " ")
    return _PERIOD.sub("", out, count=_MOST_PERIODS)


def unify_words(answer: str) -> str:
    """Lower-case, write numbers as digits, drop articles, restore apostrophes of contractions."""
    words = (_NUMBERS.get(word, word) for word in answer.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


@functools.lru_cache(maxsize=2**17)  # millions of answers are a hundred thousand different ones
def normalize(answer: str) -> str:
    """Return the normal form of an answer; it may be empty."""
    return unify_words(remove_punctuation(clean(answer)))


class AnswerVocabulary:
    """The answers that a model chooses from.

    Args:
        answers: normal forms, in the order of their indices.
        surface: for each, how it is written in predictions: its most frequent raw form. The
            evaluation compares raw forms where all annotators agree, so this can only gain.
        counted: these forms were counted; they are not only how the list of others has them.

    Raises:
        InputError: an answer comes twice, is no text, or is not written in one form of its own.
    """

    def __init__(self, answers: Sequence[str], surface: Sequence[str], *, counted: bool = True) -> None:
        self.answers, self.surface, self._counted = tuple(answers), tuple(surface), counted
        if len(self.surface) != len(self.answers):
            raise InputError(
                f"there are {len(self.surface):,} forms of {len(self.answers):,} answers, not one of each"
            )
        for answer, form in zip(self.answers, self.surface, strict=True):
            if not (isinstance(answer, str) and isinstance(form, str)):
                raise InputError(f"the answer {answer!r:.80}, written as {form!r:.80}: texts are needed")
            if normalize(form) != answer != form:
                raise InputError(f"{form!r:.80} is not a form of the answer {answer!r:.80}")
        self._index = {answer: n for n, answer in enumerate(self.answers)}
        if len(self._index) != len(self.answers):
            raise InputError(f"{Counter(self.answers).most_common(1)[0][0]!r} is in the answers twice")

    @classmethod
    def count(
        cls,
        questions: Iterable[tuple[str, Sequence[str]]],
        *,
        min_count: int,
        keep_empty: bool,
    ) -> "AnswerVocabulary":
        """Take answers that are the most frequent one of at least ``min_count`` questions.

        Answers are brought to their normal form before they are counted. They stand in the order of
        their counts, the largest first, and those of one count in the order of their texts.

        Args:
            questions: for each, its most frequent answer and all its answers.
            min_count: 9 is usual: the 3,129 answers of VQA v2 train and val, the empty one among them.
            keep_empty: keep the empty answer, to which pure articles normalise.
        """
        chosen: Counter[str] = Counter()
        written: Counter[str] = Counter()
        for most_frequent, answers in questions:
            chosen[most_frequent] += 1
            written.update(answers)
        counts: Counter[str] = Counter()
        for text, n in chosen.items():
            counts[normalize(text)] += n
        kept = [a for a, n in counts.items() if n >= min_count and (a or keep_empty)]
        kept.sort(key=lambda answer: (-counts[answer], answer))
        return cls(kept, _usual_forms(kept, written, kept))

    def written_as(self, texts: Iterable[str]) -> "AnswerVocabulary":
        """Return the same answers written as annotators usually write them, if nobody has counted that yet.

        It is so in lists of other projects; an answer that is in no text stays as it is.
        """
        if self._counted:
            return self
        return AnswerVocabulary(self.answers, _usual_forms(self.answers, Counter(texts), self.surface))

    def __len__(self) -> int:
        return len(self.answers)

    def index(self, answer: str) -> int | None:
        """Return the index of an answer in its normal form, ``None`` if it is not in the list."""
        return self._index.get(answer)

    def soft_scores(self, answers: Sequence[str], rule: str = "official") -> dict[int, float]:
        """Return index and score of every answer in the list that an annotator gave.

        Args:
            answers: of all annotators, as they wrote them.
            rule: with n of N annotators who gave the answer,
                ``official``: the official accuracy of giving it, min(1, others who agree / 3) averaged
                over leaving out each annotator: 0.3, 0.6, 0.9, 1 of ten;
                ``third``: min(1, n / 3);
                ``tenth``: n / N, a tenth for each of ten.
                What a single annotator says is worth 1 by every rule: nobody else could agree.

        Raises:
            ValueError: there is no such rule.
        """
        if rule not in SOFT_SCORES:
            raise ValueError(f"there is no rule {rule!r}; there is {', '.join(SOFT_SCORES)}")
        total, score = len(answers), SOFT_SCORES[rule]
        return {
            self._index[answer]: score(n, total) if total > 1 else 1.0
            for answer, n in Counter(map(normalize, answers)).items()
            if answer in self._index
        }

    @property
    def sha256(self) -> str:
        """Hash of the answers in their order."""
        return hashlib.sha256(json.dumps(self.answers, ensure_ascii=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that ``from_dict`` reads."""
        return {"answers": list(self.answers), "surface": list(self.surface), "sha256": self.sha256}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], source: str = "answers") -> "AnswerVocabulary":
        """Read what ``to_dict`` returned; raise ``InputError`` if it was changed since."""
        answers, surface = content.get("answers"), content.get("surface")
        if not (isinstance(answers, list) and isinstance(surface, list)):
            raise InputError(f"{source}: not a list of answers with their surface forms")
        try:
            vocabulary = cls(answers, surface)
        except InputError as error:
            raise InputError(f"{source}: {error}") from None
        if vocabulary.sha256 != content.get("sha256"):
            raise InputError(f"{source}: the answers do not have the hash written with them")
        return vocabulary

    @classmethod
    def load(cls, path: Path | str) -> "AnswerVocabulary":
        """Read a list of answers, ours or another project's: see ``bua.text.answer_lists``.

        The order is kept. Answers of others are matched by their normal form and written as they stand.

        Raises:
            InputError: the file is no list of answers, or two of them have the same normal form.
        """
        content = read_answer_list(path)
        if isinstance(content, Mapping):
            return cls.from_dict(content, str(path))
        first: dict[str, str] = {}
        for text in content:
            other = first.setdefault(normalize(text), text)
            if other is not text:
                raise InputError(f"{path}: {other!r} and {text!r} are one answer, {normalize(text)!r}")
        return cls(list(first), content, counted=False)


def _usual_forms(answers: Sequence[str], written: Mapping[str, int], otherwise: Sequence[str]) -> list[str]:
    """Return how each answer is usually written: the most frequent text of its normal form.

    Of several the first by text; the form given ``otherwise`` where nobody wrote the answer.
    """
    forms: dict[str, Counter[str]] = {answer: Counter() for answer in answers}
    for text, n in written.items():
        if normalize(text) in forms:
            forms[normalize(text)][clean(text)] += n
    return [
        min(found.items(), key=lambda form: (-form[1], form[0]))[0] if found else other
        for found, other in zip(forms.values(), otherwise, strict=True)
    ]
