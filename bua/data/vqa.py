"""Questions and answers as plain values, for those who need every text: scoring and prediction."""

from pathlib import Path
from typing import Any

from bua.data.question_files.entry import Question, QuestionId
from bua.data.question_files.read import entries
from bua.errors import InputError
from bua.metrics.vqa import Asked

__all__ = ["Question", "QuestionId", "read_annotations", "read_questions", "read_vqa"]


def read_questions(path: Path | str) -> list[Question]:
    """Read the questions of a file in any format of ``bua.data.question_files``.

    Raises:
        InputError: the file is broken, a question is empty, or an id comes twice.
    """
    questions: dict[QuestionId, Question] = {}
    for _, entry in entries(path):
        if entry.question is None:
            continue
        if entry.question_id in questions:
            raise InputError(f"{path}: question {entry.question_id} comes twice")
        questions[entry.question_id] = entry.question
    if not questions:
        raise InputError(f"{path}: there are no questions in it")
    return list(questions.values())


def read_annotations(path: Path | str) -> dict[Any, Asked]:
    """Read the answers to every question of a file, by its id (a number or a text).

    A question without ``answer_type`` or ``question_type`` counts under "unknown".

    Raises:
        InputError: the file is broken, a question has no answers, or an id comes twice.
    """
    annotations: dict[QuestionId, Asked] = {}
    for _, entry in entries(path):
        if entry.asked is None:
            continue
        if entry.question_id in annotations:
            raise InputError(f"{path}: question {entry.question_id} comes twice")
        annotations[entry.question_id] = entry.asked
    if not annotations:
        raise InputError(f"{path}: there are no answers in it")
    return annotations


def read_vqa(questions: Path | str, annotations: Path | str) -> tuple[list[Question], dict[Any, Asked]]:
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
