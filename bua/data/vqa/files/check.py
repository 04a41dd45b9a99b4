"""Looking through a file of questions for everything that is wrong with it.

What the readers refuse is a problem; what may be as it is meant, as a single answer, is a remark.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bua.data.vqa.files.file import QuestionFile
from bua.data.vqa.files.read import read_file
from bua.data.vqa.files.stored import find_stored
from bua.store.reader import FeatureStore

#: Annotators of a question of VQA v2.
ANNOTATORS = 10


@dataclass(frozen=True)
class Findings:
    """What was found in a file, a line each that names it.

    Attributes:
        file: its questions, without those that are broken.
        problems: what is wrong.
        remarks: what may be meant.
    """

    file: QuestionFile
    problems: list[str]
    remarks: list[str]


def check_questions(
    path: Path | str, annotations: Path | str | None = None, store: FeatureStore | None = None
) -> Findings:
    """Find every mistake in questions and the answers to them.

    Args:
        path: the questions, in any format.
        annotations: the answers, where they are in a file of their own.
        store: has to hold the regions of every image.

    Raises:
        InputError: it is no file of questions at all.
    """
    problems: list[str] = []
    file = read_file(path, annotations, problems.append)
    if store is not None:
        stored = find_stored(file.image_ids, store)
        problems += [
            f"{path}: image {i} has no regions in {store.path}" for i, s in stored.items() if s not in store
        ]
        problems += store.claimed_twice(stored, str(path))
    return Findings(file, problems, list(_remarks(file)))


def _remarks(file: QuestionFile) -> Iterator[str]:
    if file.asked is None:
        yield f"{file.path}: there are no answers; the file is of use for prediction alone"
        return
    counts = Counter(len(asked.answers) for asked in file.asked)
    if single := counts[1]:
        yield f"{file.path}: {single:,} questions have a single answer: one that agrees with it counts 1"
    if others := counts.total() - counts[1] - counts[ANNOTATORS]:
        yield f"{file.path}: {others:,} questions have neither {ANNOTATORS} answers nor one"
    twice = Counter(zip(file.image_ids, file.texts, strict=True))
    if again := sum(count - 1 for count in twice.values()):
        yield f"{file.path}: {again:,} questions are asked of their image before, in the same words"
