"""``bua score``: the official numbers of a file of predictions."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bua import __version__
from bua.cli.provenance import sha256
from bua.cli.score_captions import caption_lines, score_captions
from bua.data.vqa import read_annotations, read_questions
from bua.errors import InputError
from bua.json_file import read_json
from bua.metrics.vqa import RULES, vqa_accuracy
from bua.store.atomic import write_text

log = logging.getLogger(__name__)


def main(config: Any) -> None:
    """Score and write the numbers."""
    tasks: dict[str, Callable[[Any], dict[str, Any]]] = {"caption": _captions, "vqa": _answers}
    if config.task not in tasks:
        raise InputError(f"task={config.task}: caption or vqa is needed")
    result = tasks[config.task](config)
    if config.out is not None:
        out = Path(config.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, json.dumps(result, indent=2, allow_nan=False))
    for line in caption_lines(result) if "scores" in result else [_line(result)]:
        log.info(line)


def _line(result: dict[str, Any]) -> str:
    types = "  ".join(f"{name} {value:.2f}" for name, value in result["per_answer_type"].items())
    return f"overall {result['overall']:.2f}  {types}  ({result['questions']} questions)"


def read_results(path: Path | str, key: str, value: str) -> dict[Any, str]:
    """Read predictions in the official format: a list of objects with an id and a text.

    Raises:
        InputError: it is not such a list, or an id comes twice.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise InputError(f'{path}: a JSON list of {{"{key}", "{value}"}} is needed')
    results: dict[Any, str] = {}
    for position, record in enumerate(content):
        good = isinstance(record, dict) and isinstance(record.get(key), (int, str))
        if not good or isinstance(record[key], bool) or not isinstance(record.get(value), str):
            raise InputError(f'{path}: entry {position} is not an object with "{key}" and a text "{value}"')
        if record[key] in results:
            raise InputError(f"{path}: {key} {record[key]} comes twice")
        results[record[key]] = record[value]
    if not results:
        raise InputError(f"{path}: there are no predictions in it")
    return results


def _captions(config: Any) -> dict[str, Any]:
    return score_captions(config, read_results(config.predictions, "image_id", "caption"))


def _answers(config: Any) -> dict[str, Any]:
    if config.rule not in RULES:
        raise InputError(f"rule={config.rule}: {', '.join(RULES)} is needed")
    predictions = read_results(config.predictions, "question_id", "answer")
    annotations = read_annotations(_needed(config, "annotations"))
    ids = set(annotations)
    if config.questions is not None:
        ids = {question.question_id for question in read_questions(config.questions)}
        lost = sorted(ids - set(annotations))
        if lost:
            raise InputError(f"{config.annotations}: question {lost[0]} has no annotation")
    for what, wrong in (("is missing", ids - set(predictions)), ("is not asked", set(predictions) - ids)):
        if wrong:
            raise InputError(
                f"{config.predictions}: question {min(wrong, key=str)} {what} ({len(wrong)} in all); every "
                f"question of the {len(ids)} needs one answer"
            )
    asked = {question_id: annotations[question_id] for question_id in annotations if question_id in ids}
    return {
        **vqa_accuracy(predictions, asked, config.rule),
        "questions": len(asked),
        "signature": {
            "bua": __version__,
            "metric": "VQA accuracy",
            "rule": config.rule,
            "predictions_sha256": sha256(config.predictions),
            "annotations_sha256": sha256(config.annotations),
            "questions_sha256": sha256(config.questions) if config.questions else None,
        },
    }


def _needed(config: Any, key: str) -> str:
    if config[key] is None:
        raise InputError(f"{key} is needed for task={config.task}: give {key}=FILE")
    return str(config[key])
