"""How captions and questions become words: the rules of published systems, by name.

Sources: neuraltalk2's preparation of COCO ("karpathy"), the Up-Down captioner as released
("caffe"), the Penn Treebank rules of the COCO caption evaluation ("ptb_like", by nltk, without
Java), and the tokeniser of the widely copied Up-Down VQA code ("vqa").
"""

import re
import string
from collections.abc import Callable

from nltk.tokenize import NLTKWordTokenizer

Tokenizer = Callable[[str], list[str]]

#: What the COCO caption evaluation removes after tokenising.
PTB_PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-lrb-", "-rrb-", "-lcb-", "-rcb-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
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


def vqa(text: str) -> list[str]:
    """Lower-case, delete commas and question marks, set the genitive apart, split at white space."""
    return text.lower().replace(",", "").replace("?", "").replace("'s", " 's").split()


TOKENIZERS: dict[str, Tokenizer] = {
    "karpathy": karpathy,
    "caffe": caffe,
    "ptb_like": ptb_like,
    "vqa": vqa,
}
