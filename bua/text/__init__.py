"""Tokenizers, and the vocabularies of words and of answers."""

from bua.text.answers import AnswerVocabulary, normalize
from bua.text.tokenize import TOKENIZERS
from bua.text.vocabulary import BOS, EOS, PADDING, UNKNOWN, Vocabulary

__all__ = ["BOS", "EOS", "PADDING", "TOKENIZERS", "UNKNOWN", "AnswerVocabulary", "Vocabulary", "normalize"]
