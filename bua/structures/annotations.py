"""Ids, questions and answers as plain values, shared by the readers, the metrics and the models."""

from collections.abc import Sequence
from typing import NamedTuple

#: Image ids are integers, as in COCO, or strings.
ImageId = int | str
#: Question ids are integers, as in VQA v2, or strings, as in GQA.
QuestionId = int | str


class Question(NamedTuple):
    """A question about an image.

    Attributes:
        question_id: Id of the question.
        image_id: Id of the image that the question is about.
        text: Text of the question.
    """

    question_id: QuestionId
    image_id: ImageId
    text: str


class VQAAnnotation(NamedTuple):
    """The annotators' answers to one question.

    Attributes:
        answers: Raw answer of every annotator; VQA v2 has ten.
        answer_type: Type of the answer, such as "yes/no", "number" or "other".
        question_type: First words of the question, such as "what color", or another grouping.
        most_frequent: Most frequent answer, VQA's ``multiple_choice_answer``.
    """

    answers: Sequence[str]
    answer_type: str
    question_type: str
    most_frequent: str
