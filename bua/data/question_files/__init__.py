"""Files of questions and answers in every format that is read, and a validator of them."""

from bua.data.question_files.answers import AskedList
from bua.data.question_files.entry import Question, QuestionId
from bua.data.question_files.file import QuestionFile
from bua.data.question_files.read import read_file

__all__ = ["AskedList", "Question", "QuestionFile", "QuestionId", "read_file"]
