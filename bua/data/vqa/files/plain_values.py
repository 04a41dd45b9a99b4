"""Questions and answers as plain values, for those who need every text: scoring and prediction."""

from pathlib import Path
from typing import Any, NamedTuple

from bua.data.vqa.files.entry import Question, QuestionId
from bua.data.vqa.files.read import entries
from bua.errors import InputError
from bua.metrics.vqa import VQAAnnotation

__all__ = [
    "Annotations",
    "Question",
    "QuestionId",
    "annotations",
    "read_annotations",
    "read_questions",
    "read_vqa",
]


class Annotations(NamedTuple):
    """The answers of a file.

    Attributes:
        asked: what was answered to each question, by its id (a number or a text).
        unbalanced: ids of those that are left out, since GQA does not count them as balanced.
        unanswered: ids of those that stand there without answers.
    """

    asked: dict[Any, VQAAnnotation]
    unbalanced: set[Any]
    unanswered: set[Any]


def read_questions(path: Path | str) -> list[Question]:
    """Read the questions of a file in any format of ``bua.data.vqa.files``.

    Raises:
        InputError: the file is broken, a question is empty, or an id comes twice.
    """
    found: dict[QuestionId, Question] = {}
    for _, entry in entries(path):
        if entry.question is not None:
            _once(path, entry.question_id, found)
            found[entry.question_id] = entry.question
    if not found:
        raise InputError(f"{path}: there are no questions in it")
    return list(found.values())


def annotations(path: Path | str) -> Annotations:
    """Read the answers to every question of a file, and what is left out of it.

    A question without ``answer_type`` or ``question_type`` counts under "unknown".

    Args:
        path: the file, in any format of ``bua.data.vqa.files``.

    Raises:
        InputError: the file is broken, answers are no list of texts, or an id comes twice.
    """
    found = Annotations({}, set(), set())
    for _, entry in entries(path):
        if entry.asked is None:
            found.unanswered.add(entry.question_id)
        elif not entry.balanced:
            found.unbalanced.add(entry.question_id)
        else:
            _once(path, entry.question_id, found.asked)
            found.asked[entry.question_id] = entry.asked
    if not found.asked:
        raise InputError(f"{path}: there are no answers in it")
    found.unanswered.difference_update(found.asked, found.unbalanced)  # questions apart
    return found


def read_annotations(path: Path | str) -> dict[Any, VQAAnnotation]:
    """Return what ``annotations`` reads, but for what is left out."""
    return annotations(path).asked


def _once(path: Path | str, question_id: QuestionId, found: dict[QuestionId, Any]) -> None:
    if question_id in found:
        raise InputError(f"{path}: question {question_id} comes twice")


def read_vqa(
    questions: Path | str, annotations: Path | str
) -> tuple[list[Question], dict[Any, VQAAnnotation]]:
    """Read questions with their annotations.

    Raises:
        InputError: a question has no annotation; its id is named.
    """
    asked, answers = read_questions(questions), read_annotations(annotations)
    missing = [q.question_id for q in asked if q.question_id not in answers]
    if missing:
        raise InputError(
            f"{annotations}: {len(missing)} of the {len(asked)} questions of {questions} have no "
            f"annotation, the first is {missing[0]}"
        )
    return asked, answers
