"""The formats of questions and answers, recognized by the keys of a file.

VQA v2, and OK-VQA, VizWiz and others if they are distributed in its format, have questions and annotations in
separate files.

::

    {"questions": [{"question_id": 1, "image_id": 9, "question": "What is it?"}, ...]}
    {"annotations": [{"question_id": 1, "answer_type": "other", "question_type": "what is",
                      "multiple_choice_answer": "cat", "answers": [{"answer": "cat"}, ...]}, ...]}

TextVQA, VizWiz, GQA and A-OKVQA have both in one file; their test splits have no answers.

::

    {"data": [{"question_id": 1, "image_id": "0a1b", "question": "...", "answers": ["stop", ...]}, ...]}
    [{"image": "VizWiz_train_00000000.jpg", "question": "...", "answer_type": "other",
      "answers": [{"answer": "basil", "answer_confidence": "yes"}, ...], "answerable": 1}, ...]
    {"02930152": {"imageId": "2354786", "question": "...", "answer": "yes",
                  "types": {"structural": "verify", "semantic": "attr", "detailed": "verifyAttr"},
                  "isBalanced": true}, ...}
    [{"question_id": "22MexNk", "image_id": 299207, "question": "...", "direct_answers": ["ram", ...]}, ...]

A list whose records have a ``question_id`` is of the last kind: A-OKVQA's, or one with ``image`` for
``image_id`` and ``answers`` or ``answer`` for ``direct_answers``. One without is VizWiz's, where the id of
a question is the name of its image, which has no other question. A GQA question has a single
answer; its structural type serves as the answer type, its semantic type as the question type. Unbalanced
annotated questions are left out, as GQA itself leaves them out of training and scores.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, NotRequired, TypedDict

from bua.data.vqa.files.question_file import GQA_FORMAT, Entry, answer_texts, make_annotation
from bua.io.schema import Id, Report, is_valid_record
from bua.structures.annotations import Question


class _Listed(TypedDict):
    question_id: Id
    question: str


class _Question(_Listed):
    image_id: Id


class _ListedWithName(_Listed):
    image: Id


class _Annotation(TypedDict):
    question_id: Id
    answers: list[Any]


class _VizWiz(TypedDict):
    image: str
    question: str


class _GQA(TypedDict):
    imageId: Id  # noqa: N815
    question: str
    answer: NotRequired[str | None]
    types: NotRequired[dict[str, Any] | None]


class Format(NamedTuple):
    """A format of questions or annotations.

    Attributes:
        name: Name of the format.
        entry: Function that makes an entry of a record, given the record, its name in the file and a function
            that reports mistakes; it returns ``None`` after a mistake.
    """

    name: str
    entry: Callable[[Any, str, Report], Entry | None]


def format_of(member: str | None, value: Any) -> Format | None:
    """Return the format of a record, or ``None`` if the record is not about a question.

    Args:
        member: Name of the member that holds it; ``None`` in a file that is a list.
        value: The record.
    """
    if member is None:
        return LISTED if isinstance(value, dict) and "question_id" in value else VIZWIZ
    if member in LISTS:
        return LISTS[member]
    return GQA if isinstance(value, dict) and ("imageId" in value or "question" in value) else None


def _question_entry(record: Any, name: str, report: Report) -> Entry | None:
    if not is_valid_record(record, name, _Question, report):
        return None
    question_id = record["question_id"]
    return Entry(question_id, Question(question_id, record["image_id"], record["question"]), None)


def _annotation_entry(record: Any, name: str, report: Report) -> Entry | None:
    if not is_valid_record(record, name, _Annotation, report):
        return None
    question_id = record["question_id"]
    texts = answer_texts(record["answers"], f"question {question_id}", report)
    if texts is None:
        return None
    types = record.get("answer_type"), record.get("question_type")
    return Entry(question_id, None, make_annotation(texts, *types, record.get("multiple_choice_answer")))


def _textvqa_entry(record: Any, name: str, report: Report) -> Entry | None:
    entry = _question_entry(record, name, report)
    return entry and _with_answers(entry, record, report)


def _vizwiz_entry(record: Any, name: str, report: Report) -> Entry | None:
    if not is_valid_record(record, name, _VizWiz, report):
        return None
    image = record["image"]
    return _with_answers(Entry(image, Question(image, image, record["question"]), None), record, report)


def _listed_entry(record: Any, name: str, report: Report) -> Entry | None:
    key = "image" if isinstance(record, dict) and "image_id" not in record else "image_id"
    if not is_valid_record(record, name, _Question if key == "image_id" else _ListedWithName, report):
        return None
    question = Question(record["question_id"], record[key], record["question"])
    return _with_answers(Entry(question.question_id, question, None), record, report)


def _with_answers(entry: Entry, record: dict[str, Any], report: Report) -> Entry | None:
    """Add the answers of a record, if it has any."""
    key = next((key for key in _ANSWERS if record.get(key) not in (None, [])), None)
    if key is None:
        return entry
    answers = [record[key]] if key == "answer" and isinstance(record[key], str) else record[key]
    texts = answer_texts(answers, f"question {entry.question_id}", report)
    if texts is None:
        return None
    annotation = make_annotation(texts, record.get("answer_type"), record.get("question_type"))
    return entry._replace(annotation=annotation)


def _gqa_entry(record: Any, name: str, report: Report) -> Entry | None:
    if not is_valid_record(record, name, _GQA, report):
        return None
    image, answer, types = record["imageId"], record.get("answer"), record.get("types") or {}
    annotation = (
        None
        if answer in (None, "")
        else make_annotation([answer], types.get("structural"), types.get("semantic"))
    )
    return Entry(
        name, Question(name, image, record["question"]), annotation, record.get("isBalanced") is not False
    )


#: Keys of the answers of a record, the first that it has.
_ANSWERS = ("answers", "direct_answers", "answer")
LISTED = Format("list with question ids", _listed_entry)
VIZWIZ, GQA = Format("VizWiz", _vizwiz_entry), Format(GQA_FORMAT, _gqa_entry)
#: Formats whose records are in a list of this name.
LISTS = {
    "questions": Format("VQA v2", _question_entry),
    "annotations": Format("VQA v2", _annotation_entry),
    "data": Format("TextVQA", _textvqa_entry),
}
