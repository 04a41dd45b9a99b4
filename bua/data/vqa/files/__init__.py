"""Files of questions and answers in every format that is read, and a validator of them."""

from bua.data.vqa.files.answers import AnnotationList
from bua.data.vqa.files.entry import Question, QuestionId
from bua.data.vqa.files.file import QuestionFile
from bua.data.vqa.files.read import read_file

__all__ = ["AnnotationList", "Question", "QuestionFile", "QuestionId", "read_file"]
