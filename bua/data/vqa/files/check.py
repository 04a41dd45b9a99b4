"""Validation of a file of questions.

Whatever the readers reject is a problem; what may be intended, such as a single answer, is a remark.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bua.data.image_lookup import find_images
from bua.data.vqa.files.question_file import QuestionFile
from bua.data.vqa.files.read import read_question_file
from bua.store.reader import FeatureStore

#: Number of annotators of a question of VQA v2.
ANNOTATORS = 10


@dataclass(frozen=True)
class QuestionFindings:
    """Findings about a file of questions; every line names the file.

    Attributes:
        file: The valid questions.
        problems: Mistakes, one line per problem.
        remarks: Observations that may be intended, one line per remark.
    """

    file: QuestionFile
    problems: list[str]
    remarks: list[str]


def check_questions(
    path: Path | str, annotations: Path | str | None = None, store: FeatureStore | None = None
) -> QuestionFindings:
    """Find every mistake in questions and their annotations.

    Args:
        path: File of questions, in any format.
        annotations: File of their annotations, if it is a separate file.
        store: Feature store that must hold the regions of every image. Default: none.

    Raises:
        InputError: If it is not a file of questions.
    """
    problems: list[str] = []
    file = read_question_file(path, annotations, problems.append)
    if store is not None:
        found, missing = find_images({image_id: image_id for image_id in file.image_ids}, store)
        problems += [f"{path}: image {image_id} has no regions in {store.path}" for image_id in missing]
        problems += store.duplicate_claims(found, str(path))
    return QuestionFindings(file, problems, list(_remarks(file)))


def _remarks(file: QuestionFile) -> Iterator[str]:
    if file.annotations is None:
        yield f"{file.path}: has no answers; it can only be used for prediction"
        return
    counts = Counter(len(annotation.answers) for annotation in file.annotations)
    if single := counts[1]:
        yield f"{file.path}: {single:,} questions have a single answer, which a prediction must match"
    if others := counts.total() - counts[1] - counts[ANNOTATORS]:
        yield f"{file.path}: {others:,} questions have neither {ANNOTATORS} answers nor one"
    asked = Counter(zip(file.image_ids, file.texts, strict=True))
    if repeated := sum(count - 1 for count in asked.values()):
        yield f"{file.path}: {repeated:,} questions repeat an earlier one about the same image"
