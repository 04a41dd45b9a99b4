"""Many questions' answers in little room."""

from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import overload

from bua.data.vqa.files.entry import UNKNOWN_TYPE
from bua.metrics.vqa import VQAAnnotation


class AnnotationList(Sequence[VQAAnnotation]):
    """A list of ``VQAAnnotation`` that holds every text once and refers to it by a number of four bytes.

    The answers to the 658,111 questions of VQA v2 train and val need some 50 MB so.
    """

    def __init__(self) -> None:
        self._number: dict[str, int] = {}
        self._texts: list[str] = []
        self._given = array("i")  # of each question: both types, the most frequent answer, all answers
        self._ends = array("q", [0])

    def append(self, asked: VQAAnnotation) -> None:
        """Add the answers to a question."""
        for text in (asked.answer_type, asked.question_type, asked.most_frequent, *asked.answers):
            number = self._number.setdefault(text, len(self._texts))
            if number == len(self._texts):
                self._texts.append(text)
            self._given.append(number)
        self._ends.append(len(self._given))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, n: int) -> VQAAnnotation: ...
    @overload
    def __getitem__(self, n: slice) -> list[VQAAnnotation]: ...
    def __getitem__(self, n: int | slice) -> VQAAnnotation | list[VQAAnnotation]:
        """Return the answers to one question or to several."""
        if isinstance(n, slice):
            return [self[m] for m in range(*n.indices(len(self)))]
        n = range(len(self))[n]
        given = self._given[self._ends[n] : self._ends[n + 1]]
        answer_type, question_type, most_frequent, *answers = map(self._texts.__getitem__, given)
        return VQAAnnotation(tuple(answers), answer_type, question_type, most_frequent)

    def __iter__(self) -> Iterator[VQAAnnotation]:
        return (self[n] for n in range(len(self)))

    def chosen(self, order: Sequence[int]) -> "AnnotationList":
        """Return those at some places, in their order."""
        if list(order) == list(range(len(self))):
            return self
        chosen = AnnotationList()
        for n in order:
            chosen.append(self[n])
        return chosen

    @property
    def answers(self) -> int:
        """How many answers there are to all questions."""
        return len(self._given) - 3 * len(self)

    @property
    def single(self) -> int:
        """How many questions have one answer only."""
        return sum(after - before == 4 for before, after in pairwise(self._ends))

    @property
    def untyped(self) -> int:
        """Of how many questions the type of the answer is not known."""
        return sum(self._texts[self._given[at]] == UNKNOWN_TYPE for at in self._ends[:-1])
