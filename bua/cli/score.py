"""``bua score``: the official numbers of a file of predictions."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bua import __version__
from bua.cli.provenance import sha256
from bua.cli.score_answers import score_answers, score_lines
from bua.data.caption_files import read_captions
from bua.data.results import check_complete, check_known, read_results
from bua.errors import InputError
from bua.metrics.caption import caption_scores, signature
from bua.store.atomic import write_text

log = logging.getLogger(__name__)


def main(config: Any) -> None:
    """Score and write the numbers."""
    if config.task not in TASKS:
        raise InputError(f"task={config.task}: caption or vqa is needed")
    score, lines = TASKS[config.task]
    result = score(config)
    if config.out is not None:
        out = Path(config.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, json.dumps(result, indent=2, allow_nan=False))
    for line in lines(result):
        log.info(line)


def _caption_lines(result: Mapping[str, Any]) -> list[str]:
    shown = "  ".join(f"{name} {value:.4f}" for name, value in result["scores"].items())
    return [f"{shown}  ({result['images']} images)"]


def _captions(config: Any) -> dict[str, Any]:
    predictions = read_results(config.predictions, "image_id", "caption")
    if config.references is None:
        raise InputError("references is needed for task=caption: give references=FILE")
    references = read_captions(config.references, splits=config.splits).captions
    check_known(predictions, references, "image", config.predictions, config.references)
    if config.complete:
        hint = "; give complete=false to score the others"
        check_complete(predictions, references, "image", config.predictions, config.references, hint)
    metrics = [config.metrics] if isinstance(config.metrics, str) else list(config.metrics)
    if not metrics:
        raise InputError("metrics=[]: name at least one, as in metrics=[cider]")
    scores = caption_scores(predictions, references, metrics=metrics, tokenizer=config.tokenizer)
    return {
        "scores": scores,
        "images": len(predictions),
        "signature": {
            "bua": __version__,
            **signature(metrics, config.tokenizer, len(predictions)),
            "images_without_prediction": len(references) - len(predictions),
            "predictions_sha256": sha256(config.predictions),
            "references_sha256": sha256(config.references),
        },
    }


#: How a task is scored, and what is said of it.
TASKS: dict[str, tuple[Callable[[Any], dict[str, Any]], Callable[[Mapping[str, Any]], list[str]]]] = {
    "caption": (_captions, _caption_lines),
    "vqa": (score_answers, score_lines),
}
