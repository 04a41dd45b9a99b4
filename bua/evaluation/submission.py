"""Checked submission files for test servers, in their official formats and under their official names.

The VQA challenge (EvalAI, challenge 830) takes one JSON list with an answer to every question of test2015,
even in the test-dev phase. VizWiz and GQA have keys of their own, and no official file name. COCO's caption
server takes one JSON list with a caption for every image of a split.
"""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bua.data.captions.files import read_caption_file
from bua.data.predictions import check_complete, check_known, read_answers, read_predictions
from bua.data.vqa.files.question_file import GQA_FORMAT
from bua.data.vqa.files.read import question_format, read_questions
from bua.errors import InputError
from bua.evaluation.vqa import read_answer_vocabulary
from bua.io.files import read_json
from bua.io.write import is_special
from bua.structures.annotations import ImageId
from bua.text.answers import normalize

log = logging.getLogger(__name__)

#: Number of questions of VQA v2's test2015.
TEST2015 = 447_793
#: Number of questions that a submission to GQA has at least.
GQA_QUESTIONS = 4_000_000


class ServerFormat(NamedTuple):
    """Format that a server expects.

    Attributes:
        key: Field of the id.
        value: Field of the text.
        noun: What an id refers to.
        source: Key of the file that lists what must be predicted.
        file_name: Official name of a file, with ``{subset}`` and the ``{name}`` of the method; empty if there
            is none.
        subsets: Official names of the subsets, by the names of their splits here.
        id_type: Type of the ids.
    """

    key: str
    value: str
    noun: str
    source: str
    file_name: str
    subsets: Mapping[str, str]
    id_type: type = int


SERVER_FORMATS = {
    "vqa": ServerFormat(
        "question_id",
        "answer",
        "question",
        "questions",
        "v2_OpenEnded_mscoco_{subset}_{name}_results.json",
        {"val": "val2014", "test-dev": "test-dev2015", "test-std": "test2015"},
    ),
    "caption": ServerFormat(
        "image_id",
        "caption",
        "image",
        "images",
        "captions_{subset}_{name}_results.json",
        {"val": "val2014", "test": "test2014"},
    ),
}
#: Formats for answers to questions that are not in the format of VQA v2, by the names of their formats.
ANSWER_FORMATS = {
    "VizWiz": ServerFormat("image", "answer", "question", "questions", "", {}, str),
    GQA_FORMAT: ServerFormat("questionId", "prediction", "question", "questions", "", {}, str),
}


@dataclass(frozen=True)
class Submission:
    """A checked submission.

    Attributes:
        path: File to write.
        text: Its content.
        count: Number of predictions.
        warnings: What is allowed but may be a mistake, one line per warning.
    """

    path: Path
    text: str
    count: int
    warnings: list[str]


def prepare_submission(
    task: str,
    predictions_path: str,
    source: str,
    out: str,
    *,
    split: str | None = None,
    name: str | None = None,
    answers: str | None = None,
) -> Submission:
    """Check predictions and return the submission; nothing is written.

    Args:
        task: "vqa" or "caption".
        predictions_path: File of predictions in the official format.
        source: File of the questions or images that must be predicted.
        out: File to write, called ``.json``, or folder in which it gets its official name.
        split: Split, for the official name. Default: none.
        name: Name of the method, for the official name. Default: "bua".
        answers: Run or answer list; predictions outside of it are counted. Default: none.

    Raises:
        InputError: If predictions are missing or have no reference, an id has the wrong type, or the split
            does not exist.
    """
    server = SERVER_FORMATS[task]
    if task == "vqa":
        server = ANSWER_FORMATS.get(question_format(source), server)
    path = official_path(server, out, split, name)
    if task == "caption":
        predictions = read_predictions(predictions_path, server.key, server.value)
        ids = list(read_caption_file(source, captions=False).captions)
    else:
        predictions = read_answers(predictions_path)
        ids = [question.question_id for question in read_questions(source)]
        if split is not None:
            _check_subset(source, split, server.subsets[split], len(ids))
    known = dict.fromkeys(ids)
    check_known(predictions, known, server.noun, predictions_path, source)
    check_complete(predictions, known, server.noun, predictions_path, source)
    text = official_text(server, predictions, ids, source)
    warnings = _warnings(server, predictions, answers)
    if server is ANSWER_FORMATS[GQA_FORMAT] and len(ids) < GQA_QUESTIONS:
        warnings.append(f"{len(ids)} questions; GQA's server expects all of its submission, over 4 million")
    return Submission(path, text, len(ids), warnings)


def official_path(server: ServerFormat, out: str, split: str | None, name: str | None) -> Path:
    """Return the file to write: ``out`` itself if it is called ``.json``, otherwise the official name in it.

    Raises:
        InputError: If the split does not exist or is needed but missing, or ``out`` is a file although a name
            is given.
    """
    if not server.file_name and (split is not None or name is not None):
        option = f"split={split}" if split is not None else f"name={name}"
        raise InputError(f"{option}: results with {server.key!r} have no official file name; leave it out")
    if split is not None and split not in server.subsets:
        raise InputError(f"split={split}: must be one of {', '.join(server.subsets)}")
    path = Path(out)
    if is_special(path) or (path.suffix.lower() == ".json" and not path.is_dir() and not out.endswith("/")):
        if name is not None:
            raise InputError(f"name={name}: out={out} is the name of a file; give a folder")
        return path
    name = "bua" if name is None else name
    if not server.file_name:
        raise InputError(f"out={out}: give the name of a .json file, as there is no official one")
    if split is None:
        splits = "|".join(server.subsets)
        raise InputError(
            f"out={out}: give the name of a .json file, or split={splits} for the official name in it"
        )
    if not re.fullmatch(r"[\w.-]+", name):
        raise InputError(
            f"name={name}: must consist of letters, digits, _, - and ., as it is part of the file name"
        )
    return path / server.file_name.format(subset=server.subsets[split], name=name)


def official_text(
    server: ServerFormat, predictions: Mapping[ImageId, str], ids: Sequence[ImageId], source: Path | str
) -> str:
    """Return the JSON list of predictions in the order of ``ids``.

    Args:
        server: What the server expects.
        predictions: Predictions by id, one for each of ``ids``.
        ids: Ids in the order of the file.
        source: File of the ids, for messages.

    Raises:
        InputError: If an id does not have the type that the server requires.
    """
    invalid = [i for i in ids if type(i) is not server.id_type]
    if invalid:
        wanted = "an integer" if server.id_type is int else "a text"
        raise InputError(
            f"{source}: {server.noun} id {invalid[0]!r} is not {wanted} ({len(invalid)} of {len(ids)}), as "
            f"the server requires of {server.key}"
        )
    return json.dumps([{server.key: i, server.value: predictions[i]} for i in ids], allow_nan=False)


def _check_subset(source: str, split: str, subset: str, questions: int) -> None:
    """Compare the split with the subset named in the question file, and warn if questions are missing.

    Raises:
        InputError: If one of them is a test split and the other is not.
    """
    content = read_json(source)
    named = str(content.get("data_subtype", "")) if isinstance(content, dict) else ""
    if named and named.startswith("test") != subset.startswith("test"):
        raise InputError(f"split={split}: {source} has the questions of {named}")
    if subset.startswith("test") and questions != TEST2015:
        log.warning(
            f"{source}: {questions} questions{named and f' of {named}'}; the server expects an answer to "
            f"each of the {TEST2015} of test2015, in the phase test-dev, too"
        )


def _warnings(server: ServerFormat, predictions: Mapping[ImageId, str], answers: str | None) -> list[str]:
    """Return warnings about what is allowed but may be a mistake."""
    lines = []
    if empty := sum(not text.strip() for text in predictions.values()):
        lines.append(f"{empty} {server.value}s are empty")
    if answers is not None:
        known = set(read_answer_vocabulary(answers).answers)
        unknown = [text for text in predictions.values() if normalize(text) not in known]
        example = f", such as {unknown[0]!r}" if unknown else ""
        lines.append(f"{len(unknown)} {server.value}s are not in {answers}{example}")
    return lines
