"""How captions and questions become words: the rules of published systems, by name.

Sources: neuraltalk2's preparation of COCO ("karpathy"), the Up-Down captioner as released
("caffe"), the Penn Treebank rules of the COCO caption evaluation ("ptb_like", by nltk, without
Java), the captioner of nocaps ("nltk"), Meshed-Memory Transformer ("spacy"), and the tokeniser of
the widely copied Up-Down VQA code ("vqa").
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

#: What the COCO caption evaluation removes after tokenising.
PTB_PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-lrb-", "-rrb-", "-lcb-", "-rcb-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
#: What nocaps' baseline removes: the same, but that brackets stand as they are written.
_NLTK_PUNCTUATION = frozenset({mark for mark in PTB_PUNCTUATION if not mark.endswith("b-")} | set("(){}"))
#: What Meshed-Memory Transformer removes; its names of brackets are in capitals and never found.
_SPACY_PUNCTUATION = frozenset({mark for mark in PTB_PUNCTUATION if not mark.endswith("b-")} | {".."})
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "{": "-lcb-", "}": "-rcb-", "[": "-lsb-", "]": "-rsb-"}
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_treebank = NLTKWordTokenizer()


def karpathy(text: str) -> list[str]:
    """Lower-case, delete ASCII punctuation, split at white space."""
    return text.lower().translate(_NO_PUNCTUATION).split()


def caffe(text: str) -> list[str]:
    """Lower-case, split at the edges of words, keep punctuation but for a full stop at the end.

    A run of punctuation is split into its characters unless it is a run of full stops.
    """
    words: list[str] = []
    for piece in re.split(r"(\W+)", text.lower()):
        for run in piece.split():
            mark = not re.search(r"\w", run) and set(run) != {"."}
            words.extend(run if mark else [run])
    return words[:-1] if words and words[-1] == "." else words


def ptb_like(text: str) -> list[str]:
    """Split as the Penn Treebank does, lower-case, drop the punctuation that COCO's scorer drops.

    An approximation of Stanford's tokeniser that needs no Java: equal on ordinary captions, not on
    every bracket and abbreviation.
    """
    words = (_BRACKETS.get(word, word.lower()) for word in _treebank.tokenize(" ".join(text.split())))
    return [word for word in words if word not in PTB_PUNCTUATION]


def nltk(text: str) -> list[str]:
    """Lower-case, split as nltk's ``word_tokenize`` does, drop punctuation and round and curly brackets.

    ``word_tokenize`` first splits a text into sentences, for which it needs the data of punkt; here
    the text is split as one sentence. The only difference is the full stop at the end of a sentence
    that another one follows: it stays on its word ("a cat. a dog" has the word "cat."). Of the 25,014
    captions of COCO's val2017, 24 have such a full stop.
    """
    return [word for word in _treebank.tokenize(text.lower().strip()) if word not in _NLTK_PUNCTUATION]


def spacy(text: str) -> list[str]:
    """Lower-case, split by spaCy's rules for English, drop most punctuation; brackets stay.

    Raises:
        InputError: spaCy is not installed.
    """
    words = (token.text for token in _english()(" ".join(text.lower().split())))
    return [word for word in words if word not in _SPACY_PUNCTUATION]


@functools.cache
def _english() -> Callable[[str], Any]:
    """Return spaCy's tokeniser, which needs none of its models."""
    try:
        english = importlib.import_module("spacy").blank("en")
    except ImportError:
        raise InputError("tokenizer spacy needs spaCy: pip install 'bua[spacy]'") from None
    rule: Callable[[str], Any] = english.tokenizer
    return rule


def vqa(text: str) -> list[str]:
    """Lower-case, delete commas and question marks, set the genitive apart, split at white space."""
    return text.lower().replace(",", "").replace("?", "").replace("'s", " 's").split()


TOKENIZERS: dict[str, Tokenizer] = {
    "karpathy": karpathy,
    "caffe": caffe,
    "ptb_like": ptb_like,
    "nltk": nltk,
    "spacy": spacy,
    "vqa": vqa,
}
