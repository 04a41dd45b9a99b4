"""``bua score``: the official numbers of a file of predictions."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bua.cli.overrides import reject_overrides
from bua.errors import InputError
from bua.evaluation.captions import caption_lines, score_captions
from bua.evaluation.vqa import score_answers, score_lines
from bua.io.atomic import write_text

log = logging.getLogger(__name__)

#: How a task is scored, and what is said of it.
TASKS: dict[str, tuple[Callable[[Any], dict[str, Any]], Callable[[Mapping[str, Any]], list[str]]]] = {
    "caption": (score_captions, caption_lines),
    "vqa": (score_answers, score_lines),
}


#: Keys that mean nothing to a task.
NOT_OF = {
    "caption": ("questions", "annotations", "rule", "pairs", "answers"),
    "vqa": ("references", "splits", "metrics", "tokenizer", "complete"),
}


def main(config: Any) -> None:
    """Score and write the numbers."""
    if config.task not in TASKS:
        raise InputError(f"task={config.task}: {' or '.join(TASKS)} is needed")
    reject_overrides(NOT_OF[config.task], f"task={config.task} does not take it")
    score, lines = TASKS[config.task]
    result = score(config)
    if config.out is not None:
        out = Path(config.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, json.dumps(result, indent=2, allow_nan=False))
    for line in lines(result):
        log.info(line)
