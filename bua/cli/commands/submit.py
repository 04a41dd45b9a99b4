"""``bua submit``: predictions as the file that a server scores, checked before it is written."""

import logging
from collections.abc import Mapping
from typing import Any

from bua.cli.overrides import reject_overrides
from bua.data.captions.files import read_caption_file
from bua.data.predictions import check_complete, check_known, read_predictions
from bua.data.vqa.files.plain_values import read_questions
from bua.engine.provenance import sha256
from bua.errors import InputError
from bua.evaluation.submission import SERVER_FORMATS, TEST2015, ServerFormat, official_file, official_text
from bua.evaluation.vqa import read_answers
from bua.io.atomic import write_text
from bua.io.json_file import read_json
from bua.store.reader import ImageId
from bua.text.answers import normalize

log = logging.getLogger(__name__)
#: Keys that mean nothing to a task.
NOT_OF = {"caption": ("questions", "answers"), "vqa": ("images",)}


def main(config: Any) -> None:
    """Check everything, then write the file."""
    if config.task not in SERVER_FORMATS:
        raise InputError(f"task={config.task}: {' or '.join(SERVER_FORMATS)} is needed")
    reject_overrides(NOT_OF[config.task], f"task={config.task} does not take it")
    board = SERVER_FORMATS[config.task]
    out = official_file(board, str(config.out), config.split, config.name and str(config.name))
    results = read_predictions(config.predictions, board.key, board.value)
    source, ids = _asked_for(config, board)
    check_known(results, ids, board.noun, config.predictions, source)
    check_complete(results, ids, board.noun, config.predictions, source)
    text = official_text(board, results, list(ids), source)
    for line in _doubts(config, board, results):
        log.info(f"{config.predictions}: {line}")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, text)
    log.info(f"{out}: {len(ids)} {board.value}s, {len(text) / 1e6:.1f} MB, sha256 {sha256(out)}")


def _asked_for(config: Any, board: ServerFormat) -> tuple[str, dict[ImageId, None]]:
    """Return the file that says what must be predicted, and the ids in it in their order."""
    needed = "questions" if config.task == "vqa" else "images"
    if config[needed] is None:
        raise InputError(f"{needed} is needed for task={config.task}: give {needed}=FILE")
    source = str(config[needed])
    if config.task == "caption":
        return source, dict.fromkeys(read_caption_file(source, captions=False).captions)
    ids: dict[ImageId, None] = dict.fromkeys(question.question_id for question in read_questions(source))
    if config.split is not None:
        _check_subset(source, config.split, board.subsets[config.split], len(ids))
    return source, ids


def _check_subset(source: str, split: str, subset: str, questions: int) -> None:
    """Compare the split with what the file of questions says of itself; warn of too few for the server.

    Raises:
        InputError: one is of a test split, the other is not.
    """
    content = read_json(source)
    said = str(content.get("data_subtype", "")) if isinstance(content, dict) else ""
    if said and said.startswith("test") != subset.startswith("test"):
        raise InputError(f"split={split}: {source} has the questions of {said}")
    if subset.startswith("test") and questions != TEST2015:
        log.warning(
            f"{source}: {questions} questions{said and f' of {said}'}; the server wants an answer to each "
            f"of the {TEST2015} of test2015, in the phase test-dev, too"
        )


def _doubts(config: Any, board: ServerFormat, results: Mapping[ImageId, str]) -> list[str]:
    """Say what is allowed and may yet be a mistake."""
    lines = []
    if empty := sum(not text.strip() for text in results.values()):
        lines.append(f"{empty} {board.value}s are empty")
    if config.answers is not None:
        known = set(read_answers(config.answers).answers)
        others = [text for text in results.values() if normalize(text) not in known]
        one = f", as {others[0]!r}" if others else ""
        lines.append(f"{len(others)} {board.value}s are not in {config.answers}{one}")
    return lines
