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
    return list(_parts(path, "question", "questions").values())


def read_annotations(path: Path | str, unbalanced: set[Any] | None = None) -> dict[Any, Asked]:
    """Read the answers to every question of a file, by its id (a number or a text).

    A question without ``answer_type`` or ``question_type`` counts under "unknown".

    Args:
        path: the file, in any format of ``bua.data.question_files``.
        unbalanced: takes the ids of those that are left out, since GQA does not count them as balanced.

    Raises:
        InputError: the file is broken, a question has no answers, or an id comes twice.
    """
    return _parts(path, "asked", "answers", set() if unbalanced is None else unbalanced)


def _parts(
    path: Path | str, part: str, noun: str, unbalanced: set[Any] | None = None
) -> dict[QuestionId, Any]:
    """Return one part of every entry that has it, by the id of its question."""
    found: dict[QuestionId, Any] = {}
    for _, entry in entries(path):
        if (value := getattr(entry, part)) is None:
            continue
        if unbalanced is not None and not entry.balanced:
            unbalanced.add(entry.question_id)
            continue
        if entry.question_id in found:
            raise InputError(f"{path}: question {entry.question_id} comes twice")
        found[entry.question_id] = value
    if not found:
        raise InputError(f"{path}: there are no {noun} in it")
    return found


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
