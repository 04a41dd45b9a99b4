"""Read the answer list of a VQA model in the formats of several projects.

===================  =========================================================================
bua                  ``answers.json`` of a run: answers, their surface forms and a hash
JSON list            answers in the order of their indices (LXMERT's ``trainval_label2ans.json``)
answers to indices   JSON object (UNITER's ``ans2label.json``, LXMERT's ``trainval_ans2label.json``)
both mappings        JSON list of two objects, answers to indices and indices to answers, which
                     must agree (``answer_dict.json`` of MCAN and OpenVQA)
lines                ``.txt`` with one answer per line (Pythia's ``answers_vqa.txt``)
===================  =========================================================================

``<unk>`` is not an answer: it is dropped, and the answers after it move up by one.

The published lists of VQA v2 hold the same answers in different orders. Models must therefore be
compared and combined by the text of their answers, never by index.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bua.errors import InputError
from bua.io.files import read_json, read_text
from bua.io.schema import validate

UNKNOWN = "<unk>"


def read_answer_list(path: Path | str) -> Sequence[str] | Mapping[str, Any]:
    """Return the answers in the order of their indices, or the parsed content of bua's own format.

    Raises:
        InputError: If the file has none of the formats or no answers, if an index is missing or
            duplicated, or if a line is empty.
    """
    path = Path(path)
    content = _lines(path) if path.suffix == ".txt" else read_json(path)
    if isinstance(content, dict) and isinstance(content.get("answers"), list):
        return content
    answers = [answer for answer in _ordered(content, path) if answer != UNKNOWN]
    if not answers:
        raise InputError(f"{path}: contains no answers")
    return answers


def _lines(path: Path) -> list[str]:
    lines = read_text(path).splitlines()
    empty = next((n for n, line in enumerate(lines, 1) if not line.strip()), None)
    if empty is not None:
        raise InputError(f"{path}: line {empty} is empty, expected one answer per line")
    return lines


def _ordered(content: Any, path: Path) -> list[str]:
    if isinstance(content, dict):
        return _by_index(content, path)
    if isinstance(content, list) and len(content) == 2 and all(isinstance(part, dict) for part in content):
        answers = _by_index(content[0], path)
        if content[1] != {str(n): answer for n, answer in enumerate(answers)}:
            raise InputError(f"{path}: the mappings from answers to indices and back do not agree")
        return answers
    validate(content, list[str], path, "not a list of answers, nor an object from answers to indices")
    return list(content)


def _by_index(indices: Mapping[str, Any], path: Path) -> list[str]:
    """Invert a mapping from answers to indices, which must be 0 to N - 1 without duplicates."""
    answers: dict[int, str] = {}
    for answer, index in indices.items():
        if type(index) is not int or index < 0:
            raise InputError(
                f"{path}: the index of {answer!r} must be a non-negative integer, got {index!r:.80}"
            )
        if index in answers:
            raise InputError(f"{path}: {answers[index]!r} and {answer!r} both have index {index}")
        answers[index] = answer
    missing = next((n for n in range(len(answers)) if n not in answers), None)
    if missing is not None:
        raise InputError(f"{path}: index {missing} is missing, although indices go up to {max(answers)}")
    return [answers[n] for n in range(len(answers))]
