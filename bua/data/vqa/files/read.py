"""Reading questions and answers in any format, piece by piece.

One pass over a file finds every mistake in it. Who reads for training stops at the first; the
validator (``bua.data.vqa.files.check``) lists them all.
"""

from collections.abc import Iterator
from pathlib import Path

from bua.data.predictions import id_type_hint
from bua.data.vqa.files.answers import AnnotationList
from bua.data.vqa.files.entry import Entry, Question, QuestionId
from bua.data.vqa.files.file import QuestionFile
from bua.data.vqa.files.formats import GQA, Format, format_of
from bua.errors import InputError
from bua.io.json_file import Report
from bua.io.json_stream import members
from bua.store.reader import ImageId

_WANTED = (
    'VQA v2\'s {"questions"} or {"annotations"}, TextVQA\'s {"data"}, the list of VizWiz or GQA\'s '
    '{"QUESTION_ID": {"imageId", "question"}} is needed'
)


def entries(path: Path | str, report: Report | None = None) -> Iterator[tuple[str, Entry]]:
    """Give every record of a file that is sound, with the name of the format.

    Args:
        path: the file.
        report: hears of every mistake; without it, the first one is raised.

    Raises:
        InputError: the file is no file of questions, or has a mistake that nobody hears of.
    """
    say = _saying(path, report)
    first: Format | None = None
    last: Format | None = None
    position = 0
    for member, value in members(Path(path)):
        format = GQA if first is GQA else format_of(member, value)
        if format is None:  # what stands beside the questions, as the licence
            continue
        position = position + 1 if format is last else 0
        first, last = first or format, format
        place = str(member) if format is GQA else f"{member or 'entry'}[{position}]"
        entry = format.entry(value, place, say)
        if entry is None:
            continue
        if entry.question is not None and not entry.question.text.strip():
            say(f"question {entry.question_id} is empty")
        else:
            yield format.name, entry
    if first is None:
        raise InputError(f"{path}: there are neither questions nor answers in it; {_WANTED}")


def read_file(
    path: Path | str, annotations: Path | str | None = None, report: Report | None = None
) -> QuestionFile:
    """Read questions with their answers.

    Args:
        path: the questions.
        annotations: the answers to them; None or the same file where that has them itself.
        report: hears of every mistake, and what is mistaken is left out; without it, the first is raised.

    Raises:
        InputError: a file is broken or is of something else, an id comes twice, a question is empty, or
            it has no answers though they were given, or others have any.
    """
    of_answers = Path(path if annotations is None else annotations)
    columns = _Columns(_saying(path, report))
    given = _Given(_saying(of_answers, report))
    format, unbalanced = "", 0
    for name, entry in entries(path, report):
        format = name
        if entry.asked is not None and not entry.balanced:
            unbalanced += 1
            continue
        fresh = columns.add(entry.question)
        if fresh and of_answers == Path(path):
            given.add(entry)
    if not columns.rows:
        columns.say(f"there are no {'balanced ' if unbalanced else ''}questions in it")
    if of_answers != Path(path):
        for _, entry in entries(of_answers, report):
            given.add(entry)
    asked = None
    if given.at or annotations is not None:
        asked = given.of(list(columns.rows), path, every=report is not None)
    return QuestionFile(
        path=Path(path),
        format=format,
        ids=list(columns.rows),
        image_ids=columns.image_ids,
        texts=columns.texts,
        asked=asked,
        others=len(given.at.keys() - columns.rows.keys()),
        unbalanced=unbalanced,
    )


class _Columns:
    """Questions as they come, what they consist of in lists."""

    def __init__(self, say: Report) -> None:
        self.say, self.rows = say, dict[QuestionId, int]()
        self.image_ids, self.texts = list[ImageId](), list[str]()

    def add(self, question: Question | None) -> bool:
        """Add one more question, if there is one; False if it comes again."""
        if question is None:
            return True
        if question.question_id in self.rows:
            self.say(f"question {question.question_id} comes twice")
            return False
        self.rows[question.question_id] = len(self.rows)
        self.image_ids.append(question.image_id)
        self.texts.append(question.text)
        return True


class _Given:
    """Answers as they come, and which question they are to."""

    def __init__(self, say: Report) -> None:
        self.say, self.at, self.list = say, dict[QuestionId, int](), AnnotationList()

    def add(self, entry: Entry) -> None:
        """Add the answers to one more question, if there are any."""
        if entry.asked is None:
            return
        if entry.question_id in self.at:
            self.say(f"question {entry.question_id} comes twice")
            return
        self.at[entry.question_id] = len(self.list)
        self.list.append(entry.asked)

    def of(self, ids: list[QuestionId], path: Path | str, every: bool) -> AnnotationList | None:
        """Return the answers to these questions, in their order; tell which have none, or how many."""
        missing = [question_id for question_id in ids if question_id not in self.at]
        if missing and every:
            for question_id in missing:
                self.say(f"question {question_id} of {path} has no annotation")
        elif missing:
            self.say(
                f"{len(missing):,} of the {len(ids):,} questions of {path} have no annotation, the first is "
                f"{missing[0]}{id_type_hint(missing[0], self.at)}"
            )
        if missing:
            return None
        return self.list.chosen([self.at[question_id] for question_id in ids])


def _saying(path: Path | str, report: Report | None) -> Report:
    def say(mistake: str) -> None:
        if report is None:
            raise InputError(f"{path}: {mistake}")
        report(f"{path}: {mistake}")

    return say
