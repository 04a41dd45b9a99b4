"""Tokenizers of published captioning and VQA systems, by name.

Sources: neuraltalk2's preparation of COCO ("karpathy"), the released Up-Down captioner ("caffe"),
the Penn Treebank rules of the COCO caption evaluation ("ptb_like", by nltk, without Java), the
nocaps baseline ("nltk"), Meshed-Memory Transformer ("spacy"), and the widely copied Up-Down VQA code
("vqa").
"""

import functools
import importlib
import re
import string
from collections.abc import Callable
from typing import Any

from nltk.tokenize import NLTKWordTokenizer

from bua.errors import InputError

Tokenizer = Callable[[str], list[str]]

#: Tokens that the COCO caption evaluation removes after tokenization. Its list also names brackets, but in
#: capitals ("-LRB-"), while tokens are in lower case ("-lrb-"); it therefore keeps them.
PTB_PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
#: Tokens that the nocaps baseline removes: the same, and brackets as they are written.
_NLTK_PUNCTUATION = PTB_PUNCTUATION | set("(){}")
#: Tokens that Meshed-Memory Transformer removes.
_SPACY_PUNCTUATION = PTB_PUNCTUATION | {".."}
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "{": "-lcb-", "}": "-rcb-", "[": "-lsb-", "]": "-rsb-"}
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_treebank = NLTKWordTokenizer()


def karpathy(text: str) -> list[str]:
    """Lowercase, delete ASCII punctuation and split at whitespace."""
    return text.lower().translate(_NO_PUNCTUATION).split()


def caffe(text: str) -> list[str]:
    """Lowercase, split at word boundaries and keep punctuation, except for a period at the end.

    A run of punctuation is split into its characters unless it is a run of periods.
    """
    words: list[str] = []
    for part in re.split(r"(\W+)", text.lower()):
        for run in part.split():
            is_punctuation = not re.search(r"\w", run) and set(run) != {"."}
            words.extend(run if is_punctuation else [run])
    return words[:-1] if words and words[-1] == "." else words


def ptb_like(text: str) -> list[str]:
    """Split by the Penn Treebank rules, lowercase and drop the punctuation that COCO's scorer drops.

    This approximates Stanford's tokenizer without Java. It agrees on ordinary captions, but not on all
    brackets and abbreviations.
    """
    words = (_BRACKETS.get(word, word.lower()) for word in _treebank.tokenize(" ".join(text.split())))
    return [word for word in words if word not in PTB_PUNCTUATION]


def nltk(text: str) -> list[str]:
    """Lowercase, split as nltk's ``word_tokenize`` does, drop punctuation and round and curly brackets.

    ``word_tokenize`` first splits a text into sentences, which requires the punkt data; here the text
    is treated as one sentence. The only difference is that the period of a sentence that is followed
    by another one stays with its word ("a cat. a dog" contains the word "cat."). This concerns 24 of
    the 25,014 captions of COCO val2017.
    """
    return [word for word in _treebank.tokenize(text.lower().strip()) if word not in _NLTK_PUNCTUATION]


def spacy(text: str) -> list[str]:
    """Lowercase, split by spaCy's rules for English and drop most punctuation, but not brackets.

    Raises:
        InputError: If spaCy is not installed.
    """
    words = (token.text for token in _spacy_tokenizer()(" ".join(text.lower().split())))
    return [word for word in words if word not in _SPACY_PUNCTUATION]


@functools.cache
def _spacy_tokenizer() -> Callable[[str], Any]:
    """Return spaCy's rule-based English tokenizer, which requires no trained model."""
    try:
        english = importlib.import_module("spacy").blank("en")
    except ImportError:
        raise InputError("tokenizer spacy requires spaCy: pip install 'bua[spacy]'") from None
    tokenizer: Callable[[str], Any] = english.tokenizer
    return tokenizer


def vqa(text: str) -> list[str]:
    """Lowercase, delete commas and question marks, split off "'s" and split at whitespace."""
    return text.lower().replace(",", "").replace("?", "").replace("'s", " 's").split()


TOKENIZERS: dict[str, Tokenizer] = {
    "karpathy": karpathy,
    "caffe": caffe,
    "ptb_like": ptb_like,
    "nltk": nltk,
    "spacy": spacy,
    "vqa": vqa,
}
