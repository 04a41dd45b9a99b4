"""Files of the answers that a VQA model chooses from, as several projects write them.

=====================  =========================================================================
ours                   ``answers.json`` of a run: answers, how they are written, a hash
a JSON list            texts in the order of their indices (LXMERT's ``trainval_label2ans.json``)
answers to indices     a JSON object (UNITER's ``ans2label.json``, LXMERT's other file)
both ways              a JSON list of two objects, answers to indices and indices to answers, which
                       must agree (``answer_dict.json`` of MCAN and OpenVQA)
lines                  ``.txt``, an answer a line (Pythia's ``answers_vqa.txt``)
=====================  =========================================================================

``<unk>`` is no answer and left out, so that those behind it move up by one.

The lists of VQA v2 hold the same answers in different orders, so that models are compared and
joined by the texts of their answers and never by indices.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bua.errors import InputError
from bua.io.json_file import read_json
from bua.io.text_file import read_text

UNKNOWN = "<unk>"


def read_answer_list(path: Path | str) -> Sequence[str] | Mapping[str, Any]:
    """Return the answers in their order, or the content of a file of ours.

    Raises:
        InputError: the file is none of these, has no answers, an index none or two, a line nothing.
    """
    path = Path(path)
    content = _lines(path) if path.suffix == ".txt" else read_json(path)
    if isinstance(content, dict) and isinstance(content.get("answers"), list):
        return content
    answers = [answer for answer in _ordered(content, path) if answer != UNKNOWN]
    if not answers:
        raise InputError(f"{path}: there are no answers in it")
    return answers


def _lines(path: Path) -> list[str]:
    lines = read_text(path).splitlines()
    empty = next((n for n, line in enumerate(lines, 1) if not line.strip()), None)
    if empty is not None:
        raise InputError(f"{path}: line {empty} is empty, an answer a line is needed")
    return lines


def _ordered(content: Any, path: Path) -> list[str]:
    if isinstance(content, dict):
        return _by_index(content, path)
    if not isinstance(content, list):
        raise InputError(f"{path}: a list of answers is needed, or an object from answers to indices")
    if len(content) == 2 and all(isinstance(part, dict) for part in content):
        answers = _by_index(content[0], path)
        if content[1] != {str(n): answer for n, answer in enumerate(answers)}:
            raise InputError(f"{path}: its two objects, answers to indices and back, do not agree")
        return answers
    wrong = next((n for n, answer in enumerate(content) if not isinstance(answer, str)), None)
    if wrong is not None:
        raise InputError(f"{path}: answer {wrong} is {content[wrong]!r:.80}, a text is needed")
    return content


def _by_index(indices: Mapping[str, Any], path: Path) -> list[str]:
    """Turn answers to indices into a list; every index from 0 must be there once."""
    answers: dict[int, str] = {}
    for answer, index in indices.items():
        if type(index) is not int or index < 0:
            raise InputError(f"{path}: the index of {answer!r} is {index!r:.80}, a whole number is needed")
        if index in answers:
            raise InputError(f"{path}: {answers[index]!r} and {answer!r} both have index {index}")
        answers[index] = answer
    hole = next((n for n in range(len(answers)) if n not in answers), None)
    if hole is not None:
        raise InputError(f"{path}: no answer has index {hole}, but there is one with {max(answers)}")
    return [answers[n] for n in range(len(answers))]
