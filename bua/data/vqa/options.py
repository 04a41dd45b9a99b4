"""Options of the DataModule of questions."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bua.data.vqa.dataset import PADDING_SIDES
from bua.data.vqa.files import QuestionFile, read_question_file
from bua.errors import InputError, check_flag, check_integer
from bua.text.answers import SOFT_SCORES

#: A path or a list of paths.
Files = str | Sequence[str]
#: Questions whose answers may be counted.
COUNT_FROM = ("train", "train_val")


@dataclass(frozen=True, kw_only=True)
class VQASource:
    """Files of questions and of their annotations.

    Attributes:
        questions: File or files of questions, in any format of ``bua.data.vqa.files``.
        annotations: The corresponding files of annotations; ``None`` if the question files contain them.
    """

    questions: Files
    annotations: Files | None = None

    def read(self, name: str) -> list[QuestionFile]:
        """Read the files.

        Args:
            name: Name of the split, for messages.

        Raises:
            InputError: If a file is broken, the numbers of files differ, or a question is in two files.
        """
        paths = flatten_files(self.questions)
        annotations = [None] * len(paths) if self.annotations is None else flatten_files(self.annotations)
        if not paths or len(annotations) != len(paths):
            raise InputError(
                f"data.{name}: {len(paths)} files of questions need as many of annotations, not "
                f"{len(annotations)}"
            )
        files = [read_question_file(*pair) for pair in zip(paths, annotations, strict=True)]
        first: dict[Any, Path] = {}
        for file in files:
            if file.annotations is None:
                raise InputError(f"{file.path}: has no answers; give data.{name}.annotations=FILE")
            for question_id in file.ids if len(files) > 1 else ():
                if question_id in first:
                    raise InputError(f"{file.path}: question {question_id} is also in {first[question_id]}")
                first[question_id] = file.path
        return files


@dataclass(frozen=True, kw_only=True)
class QuestionOptions:
    """Options for converting questions to word indices.

    Attributes:
        tokenizer: Name of the tokenizer.
        min_count: Minimum number of occurrences of a word in the vocabulary.
        extra_files: Further files of questions whose words are counted, such as those of a test split.
        max_length: Number of words to which questions are padded or truncated.
        padding: Side on which shorter questions are padded: "front" or "end".
        file: Vocabulary of a run (``vocabulary.json``) to use instead of counting. Default: count.

    Raises:
        InputError: If ``padding`` is neither, or there are both ``file`` and ``extra_files``.
        ValueError: If a number has the wrong type or is out of range.
    """

    tokenizer: str
    min_count: int
    extra_files: Files
    max_length: int
    padding: str
    file: str | None = None

    def __post_init__(self) -> None:
        if self.file is not None and self.extra_files:
            raise InputError(f"data.questions.file={self.file}: lists all words; leave out extra_files")
        _check_choice("questions.padding", self.padding, PADDING_SIDES)
        check_integer("questions.min_count", self.min_count, 1)
        check_integer("questions.max_length", self.max_length, 1)


@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """Options of the answer list and of the soft scores.

    Attributes:
        min_count: Minimum number of questions of which an answer must be the most frequent answer.
        count_from: Questions whose answers are counted: "train" or "train_val".
        file: Answer list to use instead of counting. Default: count.
        keep_empty: Whether to keep the answer that normalizes to the empty string.
        soft_scores: Rule of the soft scores: "official" (leave one annotator out), "third" (min(1, n / 3))
            or "tenth" (n / 10).
        raw: Whether soft scores count only answers that annotators wrote in their normalized form.

    Raises:
        InputError: If ``count_from`` or ``soft_scores`` does not exist.
        ValueError: If ``min_count`` is not an integer of at least 1, or ``raw`` is not true or false.
    """

    min_count: int
    count_from: str
    file: str | None
    keep_empty: bool
    soft_scores: str
    raw: bool = False

    def __post_init__(self) -> None:
        _check_choice("answers.count_from", self.count_from, COUNT_FROM)
        _check_choice("answers.soft_scores", self.soft_scores, SOFT_SCORES)
        check_integer("answers.min_count", self.min_count, 1)
        check_flag("answers.raw", self.raw)


@dataclass(frozen=True, kw_only=True)
class VisualGenomeSource:
    """Questions of Visual Genome about training images, with answers in the answer list.

    Attributes:
        questions: Visual Genome's question_answers.json; ``None`` for no such questions.
        images: Visual Genome's image_data.json.

    Raises:
        InputError: If only one of the two files is given.
    """

    questions: str | None = None
    images: str | None = None

    def __post_init__(self) -> None:
        if (self.questions is None) != (self.images is None):
            raise InputError(
                f"data.visual_genome: questions={self.questions} and images={self.images} need each other: "
                "question_answers.json and image_data.json"
            )


def flatten_files(files: Files | Sequence[Files | None]) -> list[Any]:
    """Return files as a list; an entry may be a list, too, as in ``[${data.val.questions}, test.json]``."""
    if files is None or isinstance(files, str):
        return [files]
    return [path for entry in files for path in flatten_files(entry)]  # type: ignore[arg-type]


def number_files(**files: Files | None) -> dict[str, str]:
    """Return files by role; further files of one role get a number."""
    found = {}
    for role, paths in files.items():
        for n, path in enumerate(flatten_files(paths) if paths is not None else []):
            if path is not None:
                found[role if n == 0 else f"{role}_{n + 1}"] = str(path)
    return found


def _check_choice(key: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise InputError(f"data.{key}={value}: must be one of {', '.join(choices)}")
