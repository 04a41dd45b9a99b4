"""What every format of questions is read into, question by question."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from bua.io.json_file import Report
from bua.metrics.vqa import VQAAnnotation
from bua.store.reader import ImageId

#: A number in VQA v2, a text in sets that name their questions otherwise.
QuestionId = int | str
#: The type of answers and questions that a file tells no type of.
UNKNOWN_TYPE = "unknown"


class Question(NamedTuple):
    """One question about one image."""

    question_id: QuestionId
    image_id: ImageId
    text: str


class Entry(NamedTuple):
    """What a file says of one question: the question itself, or what was answered to it, or both.

    Attributes:
        question_id: its id.
        question: the question itself.
        asked: what was answered.
        balanced: false for those of GQA that are not among its balanced questions.
    """

    question_id: QuestionId
    question: Question | None
    asked: VQAAnnotation | None
    balanced: bool = True


def make_annotation(
    texts: Sequence[str], answer_type: Any, question_type: Any, most_frequent: Any = None
) -> VQAAnnotation:
    """Return the answers to a question; types that are not told are unknown.

    The most frequent answer is the first of those given most often, where the file does not say it.
    """
    most = most_frequent if isinstance(most_frequent, str) else Counter(texts).most_common(1)[0][0]
    return VQAAnnotation(
        tuple(texts),
        answer_type if isinstance(answer_type, str) and answer_type else UNKNOWN_TYPE,
        question_type if isinstance(question_type, str) and question_type else UNKNOWN_TYPE,
        most,
    )


def answer_texts(answers: Any, name: str, report: Report) -> list[str] | None:
    """Return the answers of a list of texts, or of objects with an ``answer``; None if it is not one."""
    if isinstance(answers, list) and answers:
        texts: list[Any] = [a.get("answer") if isinstance(a, dict) else a for a in answers]
        if all(isinstance(text, str) for text in texts):
            return texts
    report(f"{name}: answers must be a list of texts, or of objects with a text answer")
    return None
