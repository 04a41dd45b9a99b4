"""The questions of one file, whatever its format, and their annotations."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bua.io.schema import Report
from bua.structures.annotations import ImageId, Question, QuestionId, VQAAnnotation

#: Answer type and question type if a file does not give them.
UNKNOWN_TYPE = "unknown"
#: Format whose unbalanced questions are left out.
GQA_FORMAT = "GQA"


class Entry(NamedTuple):
    """The content of one record of a file of questions or annotations.

    Attributes:
        question_id: Id of the question.
        question: The question, or ``None`` in a file of annotations alone.
        annotation: Its annotation, or ``None`` in a file of questions alone.
        balanced: ``False`` for the unbalanced questions of GQA.
    """

    question_id: QuestionId
    question: Question | None
    annotation: VQAAnnotation | None
    balanced: bool = True


@dataclass(frozen=True)
class QuestionFile:
    """The questions of a file, in its order.

    Attributes:
        path: Path of the file.
        format: Name of the format that the file was recognized as.
        ids: Ids of the questions.
        image_ids: Image id of each question.
        texts: The questions.
        annotations: Their annotations; ``None`` if there are no answers.
        num_others: Number of annotations that belong to none of the questions.
        num_unbalanced: Number of unbalanced questions of GQA that were left out.
    """

    path: Path
    format: str
    ids: list[QuestionId]
    image_ids: list[ImageId]
    texts: list[str]
    annotations: Sequence[VQAAnnotation] | None = None
    num_others: int = 0
    num_unbalanced: int = 0

    def __len__(self) -> int:
        return len(self.ids)


def make_annotation(
    texts: Sequence[str], answer_type: Any, question_type: Any, most_frequent: Any = None
) -> VQAAnnotation:
    """Return the annotation of a question; missing types are "unknown".

    If the most frequent answer is not given, it is computed; ties go to the first one.
    """
    if not isinstance(most_frequent, str):
        most_frequent = Counter(texts).most_common(1)[0][0]
    return VQAAnnotation(
        tuple(texts),
        answer_type if isinstance(answer_type, str) and answer_type else UNKNOWN_TYPE,
        question_type if isinstance(question_type, str) and question_type else UNKNOWN_TYPE,
        most_frequent,
    )


def answer_texts(answers: Any, name: str, report: Report) -> list[str] | None:
    """Return a list of answers as strings, or report that it is not one and return ``None``."""
    if isinstance(answers, list) and answers:
        texts: list[Any] = [a.get("answer") if isinstance(a, dict) else a for a in answers]
        if all(isinstance(text, str) for text in texts):
            return texts
    report(f"{name}: answers must be a list of texts, or of objects with a text answer")
    return None
