"""Files of questions and answers in every supported format, and a validator of them."""

from bua.data.vqa.files.annotation_list import AnnotationList
from bua.data.vqa.files.question_file import QuestionFile
from bua.data.vqa.files.read import describe_questions, read_annotations, read_question_file, read_questions

__all__ = [
    "AnnotationList",
    "QuestionFile",
    "describe_questions",
    "read_annotations",
    "read_question_file",
    "read_questions",
]
