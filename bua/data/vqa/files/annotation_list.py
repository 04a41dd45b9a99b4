"""A memory-efficient list of annotations."""

from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import overload

from bua.data.vqa.files.question_file import UNKNOWN_TYPE
from bua.structures.annotations import VQAAnnotation


class AnnotationList(Sequence[VQAAnnotation]):
    """A list of annotations that stores every string once and refers to it by a four-byte number.

    The annotations of the 658,111 questions of VQA v2 train and val need about 50 MB this way.
    """

    def __init__(self) -> None:
        self._number: dict[str, int] = {}
        self._texts: list[str] = []
        self._numbers = array("i")  # of each question: both types, the most frequent answer, all answers
        self._ends = array("q", [0])

    def append(self, annotation: VQAAnnotation) -> None:
        """Add the annotation of a question."""
        for text in (
            annotation.answer_type,
            annotation.question_type,
            annotation.most_frequent,
            *annotation.answers,
        ):
            number = self._number.setdefault(text, len(self._texts))
            if number == len(self._texts):
                self._texts.append(text)
            self._numbers.append(number)
        self._ends.append(len(self._numbers))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, n: int) -> VQAAnnotation: ...
    @overload
    def __getitem__(self, n: slice) -> list[VQAAnnotation]: ...
    def __getitem__(self, n: int | slice) -> VQAAnnotation | list[VQAAnnotation]:
        """Return the annotation of one question or of several."""
        if isinstance(n, slice):
            return [self[m] for m in range(*n.indices(len(self)))]
        n = range(len(self))[n]
        numbers = self._numbers[self._ends[n] : self._ends[n + 1]]
        answer_type, question_type, most_frequent, *answers = map(self._texts.__getitem__, numbers)
        return VQAAnnotation(tuple(answers), answer_type, question_type, most_frequent)

    def __iter__(self) -> Iterator[VQAAnnotation]:
        return (self[n] for n in range(len(self)))

    def select(self, indices: Sequence[int]) -> "AnnotationList":
        """Return the annotations at some indices, in their order."""
        if list(indices) == list(range(len(self))):
            return self
        selected = AnnotationList()
        for n in indices:
            selected.append(self[n])
        return selected

    @property
    def num_answers(self) -> int:
        """Number of answers to all questions."""
        return len(self._numbers) - 3 * len(self)

    @property
    def num_single(self) -> int:
        """Number of questions with a single answer."""
        return sum(after - before == 4 for before, after in pairwise(self._ends))

    @property
    def num_untyped(self) -> int:
        """Number of questions whose answer type is unknown."""
        return sum(self._texts[self._numbers[at]] == UNKNOWN_TYPE for at in self._ends[:-1])
