"""Reading VQA v2 questions and annotations."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bua.errors import InputError
from bua.json_file import read_json, records
from bua.metrics.vqa import Asked
from bua.store.reader import ImageId


@dataclass(frozen=True)
class Question:
    """One question about one image."""

    question_id: int
    image_id: ImageId
    text: str


def read_questions(path: Path | str) -> list[Question]:
    """Read a questions file.

    Raises:
        InputError: the file is broken, a question is empty, or an id comes twice.
    """
    kinds: dict[str, type | tuple[type, ...]] = {
        "question_id": int,
        "image_id": (int, str),
        "question": str,
    }
    questions, seen = [], set()
    for record in records(read_json(path), path, "questions", kinds):
        if record["question_id"] in seen:
            raise InputError(f"{path}: question {record['question_id']} comes twice")
        if not record["question"].strip():
            raise InputError(f"{path}: question {record['question_id']} is empty")
        seen.add(record["question_id"])
        questions.append(Question(record["question_id"], record["image_id"], record["question"]))
    return questions


def read_annotations(path: Path | str) -> dict[int, Asked]:
    """Read an annotations file: the answers of every question, by its id.

    A question without ``answer_type`` or ``question_type`` counts under "unknown".

    Raises:
        InputError: the file is broken, a question has no answers, or an id comes twice.
    """
    annotations: dict[int, Asked] = {}
    kinds: dict[str, type | tuple[type, ...]] = {"question_id": int, "answers": list}
    for record in records(read_json(path), path, "annotations", kinds):
        question_id = record["question_id"]
        if question_id in annotations:
            raise InputError(f"{path}: question {question_id} comes twice")
        answers: list[Any] = [a.get("answer") if isinstance(a, dict) else None for a in record["answers"]]
        if not answers or not all(isinstance(answer, str) for answer in answers):
            raise InputError(
                f"{path}: question {question_id}: answers must be a list of objects with a text answer"
            )
        annotations[question_id] = Asked(
            tuple(answers),
            str(record.get("answer_type", "unknown")),
            str(record.get("question_type", "unknown")),
            str(record.get("multiple_choice_answer", Counter(answers).most_common(1)[0][0])),
        )
    return annotations


def read_vqa(questions: Path | str, annotations: Path | str) -> tuple[list[Question], dict[int, Asked]]:
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
