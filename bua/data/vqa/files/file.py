"""The questions of a file, whatever its format, with what was answered to them."""

from dataclasses import dataclass
from pathlib import Path

from bua.data.vqa.files.answers import AnnotationList
from bua.data.vqa.files.entry import QuestionId
from bua.data.vqa.files.formats import GQA
from bua.store.reader import ImageId


@dataclass(frozen=True)
class QuestionFile:
    """What a file of questions says, in its order.

    Attributes:
        path: the file.
        format: what it was taken for.
        ids: of the questions.
        image_ids: of the image of each.
        texts: the questions.
        asked: their answers; None where nothing was answered.
        others: how many other questions the file of the answers answers.
        unbalanced: how many questions were left out, since they are not of GQA's balanced ones.
    """

    path: Path
    format: str
    ids: list[QuestionId]
    image_ids: list[ImageId]
    texts: list[str]
    asked: AnnotationList | None = None
    others: int = 0
    unbalanced: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def __str__(self) -> str:
        """Count what is in it."""
        said = [f"{len(self):,} questions on {len(set(self.image_ids)):,} images"]
        if self.asked is not None:
            said.append(f"{self.asked.answers:,} answers")
            said.append(f"{self.asked.untyped:,} questions without a type of answer")
            policy = ", which is right if it is the same" if self.asked.single else ""
            said.append(f"{self.asked.single:,} with a single answer{policy}")
            said.append(f"{self.others:,} answered questions are not among them")
        if self.format == GQA.name:
            said.append(f"{self.unbalanced:,} that are not balanced are left out")
        return f"{self.path}: {', '.join([self.format] * bool(self.format) + said)}"
