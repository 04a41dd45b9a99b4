"""Reading questions and answers in any format, record by record.

One pass over a file finds every mistake in it. Readers for training stop at the first; the validator
(``bua.data.vqa.files.check``) lists them all.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bua.data.predictions import id_type_hint
from bua.data.vqa.files.annotation_list import AnnotationList
from bua.data.vqa.files.formats import GQA, Format, format_of
from bua.data.vqa.files.question_file import Entry, QuestionFile
from bua.errors import InputError
from bua.io.json_stream import members
from bua.io.schema import Report
from bua.structures.annotations import ImageId, Question, QuestionId, VQAAnnotation

_FORMATS = (
    'must be VQA v2\'s {"questions"} or {"annotations"}, TextVQA\'s {"data"}, the list of VizWiz or A-OKVQA, '
    'or GQA\'s {"QUESTION_ID": {"imageId", "question"}}'
)


def read_entries(path: Path | str, report: Report | None = None) -> Iterator[tuple[str, Entry]]:
    """Yield the name of the format and the entry of every valid record of a file.

    Args:
        path: Path of the file.
        report: Called with every mistake. By default the first mistake is raised.

    Raises:
        InputError: If it is not a file of questions or annotations, or has a mistake and ``report`` is
            not given.
    """
    on_mistake = _reporter(path, report)
    first: Format | None = None
    last: Format | None = None
    position = 0
    for member, value in members(Path(path)):
        format = GQA if first is GQA else format_of(member, value)
        if format is None:  # metadata such as the licence
            continue
        position = position + 1 if format is last else 0
        first, last = first or format, format
        name = str(member) if format is GQA else f"{member or 'entry'}[{position}]"
        entry = format.entry(value, name, on_mistake)
        if entry is None:
            continue
        if entry.question is not None and not entry.question.text.strip():
            on_mistake(f"question {entry.question_id} is empty")
        else:
            yield format.name, entry
    if first is None:
        raise InputError(f"{path}: holds neither questions nor annotations; {_FORMATS}")


def read_question_file(
    path: Path | str, annotations: Path | str | None = None, report: Report | None = None
) -> QuestionFile:
    """Read questions with their annotations.

    Args:
        path: File of questions.
        annotations: File of their annotations; ``None`` or the same file if it contains them.
        report: Called with every mistake, whose question is then left out. By default the first mistake
            is raised.

    Raises:
        InputError: If a file is broken or of a different kind, an id is duplicated, a question is empty, or a
            question has no annotation although annotations are given or others have one.
    """
    annotation_path = Path(path if annotations is None else annotations)
    separate = annotation_path != Path(path)
    questions = _Questions(_reporter(path, report))
    collected = _Annotations(_reporter(annotation_path, report))
    format, num_unbalanced = "", 0
    for name, entry in read_entries(path, report):
        format = name
        if entry.annotation is not None and not entry.balanced:
            num_unbalanced += 1
            continue
        is_new = questions.add(entry.question)
        if is_new and not separate:
            collected.add(entry)
    if not questions.rows:
        questions.report(f"holds no {'balanced ' if num_unbalanced else ''}questions")
    if separate:
        for _, entry in read_entries(annotation_path, report):
            collected.add(entry)
    selected = None
    if collected.rows or annotations is not None:
        selected = collected.select(list(questions.rows), path, report_each=report is not None)
    return QuestionFile(
        path=Path(path),
        format=format,
        ids=list(questions.rows),
        image_ids=questions.image_ids,
        texts=questions.texts,
        annotations=selected,
        num_others=len(collected.rows.keys() - questions.rows.keys()),
        num_unbalanced=num_unbalanced,
    )


def describe_questions(file: QuestionFile) -> str:
    """Return a line with the counts of a file of questions."""
    counts = [f"{len(file):,} questions on {len(set(file.image_ids)):,} images"]
    if isinstance(file.annotations, AnnotationList):
        policy = ", which must match exactly" if file.annotations.num_single else ""
        counts += [
            f"{file.annotations.num_answers:,} answers",
            f"{file.annotations.num_untyped:,} questions without answer type",
            f"{file.annotations.num_single:,} with a single answer{policy}",
            f"{file.num_others:,} annotations of other questions",
        ]
    if file.format == GQA.name:
        counts.append(f"{file.num_unbalanced:,} that are not balanced are left out")
    return f"{file.path}: {', '.join([file.format] * bool(file.format) + counts)}"


class Annotations(NamedTuple):
    """The annotations of a file, and the ids of the questions that are left out.

    Attributes:
        by_question: Annotations by question id.
        unbalanced: Ids of the unbalanced questions of GQA.
        unanswered: Ids of the questions without answers.
    """

    by_question: dict[Any, VQAAnnotation]
    unbalanced: set[Any]
    unanswered: set[Any]


def read_questions(path: Path | str) -> list[Question]:
    """Read the questions of a file in any format.

    Raises:
        InputError: If the file is broken or holds no questions, a question is empty, or an id is
            duplicated.
    """
    found: dict[QuestionId, Question] = {}
    for _, entry in read_entries(path):
        if entry.question is not None:
            _require_new(path, entry.question_id, found)
            found[entry.question_id] = entry.question
    if not found:
        raise InputError(f"{path}: holds no questions")
    return list(found.values())


def question_format(path: Path | str) -> str:
    """Return the name of the format of a file of questions.

    Raises:
        InputError: If it is not one, or its first question is broken.
    """
    return next((name for name, _ in read_entries(path)), "")


def read_all_annotations(path: Path | str) -> Annotations:
    """Read the annotations of every question of a file, and record which are left out.

    A question without answer type or question type is of type "unknown".

    Raises:
        InputError: If the file is broken or holds no answers, answers are not a list of texts, or an id is
            duplicated.
    """
    found = Annotations({}, set(), set())
    for _, entry in read_entries(path):
        if entry.annotation is None:
            found.unanswered.add(entry.question_id)
        elif not entry.balanced:
            found.unbalanced.add(entry.question_id)
        else:
            _require_new(path, entry.question_id, found.by_question)
            found.by_question[entry.question_id] = entry.annotation
    if not found.by_question:
        raise InputError(f"{path}: holds no answers")
    # a file may list questions and annotations separately
    found.unanswered.difference_update(found.by_question, found.unbalanced)
    return found


def read_annotations(path: Path | str) -> dict[Any, VQAAnnotation]:
    """Return the annotations of a file by question id, without what ``read_all_annotations`` leaves out."""
    return read_all_annotations(path).by_question


class _Questions:
    """Collects questions in columns."""

    def __init__(self, report: Report) -> None:
        self.report, self.rows = report, dict[QuestionId, int]()
        self.image_ids, self.texts = list[ImageId](), list[str]()

    def add(self, question: Question | None) -> bool:
        """Add a question, if there is one; return ``False`` if its id is duplicated."""
        if question is None:
            return True
        if question.question_id in self.rows:
            self.report(f"question {question.question_id} is duplicated")
            return False
        self.rows[question.question_id] = len(self.rows)
        self.image_ids.append(question.image_id)
        self.texts.append(question.text)
        return True


class _Annotations:
    """Collects annotations by question."""

    def __init__(self, report: Report) -> None:
        self.report, self.rows, self.annotations = report, dict[QuestionId, int](), AnnotationList()

    def add(self, entry: Entry) -> None:
        """Add the annotation of an entry, if it has one."""
        if entry.annotation is None:
            return
        if entry.question_id in self.rows:
            self.report(f"question {entry.question_id} is duplicated")
            return
        self.rows[entry.question_id] = len(self.annotations)
        self.annotations.append(entry.annotation)

    def select(self, ids: list[QuestionId], path: Path | str, report_each: bool) -> AnnotationList | None:
        """Return the annotations of these questions, in order, or report which are missing."""
        missing = [question_id for question_id in ids if question_id not in self.rows]
        if missing and report_each:
            for question_id in missing:
                self.report(f"question {question_id} of {path} has no annotation")
        elif missing:
            self.report(
                f"{len(missing):,} of the {len(ids):,} questions of {path} have no annotation, the first is "
                f"{missing[0]}{id_type_hint(missing[0], self.rows)}"
            )
        if missing:
            return None
        return self.annotations.select([self.rows[question_id] for question_id in ids])


def _require_new(path: Path | str, question_id: QuestionId, found: dict[QuestionId, Any]) -> None:
    if question_id in found:
        raise InputError(f"{path}: question {question_id} is duplicated")


def _reporter(path: Path | str, report: Report | None) -> Report:
    """Return a function that reports a mistake with the name of the file, or raises it."""

    def on_mistake(mistake: str) -> None:
        if report is None:
            raise InputError(f"{path}: {mistake}")
        report(f"{path}: {mistake}")

    return on_mistake
