"""``bua score``: compute the official scores of a file of predictions."""

import logging
from dataclasses import dataclass

from bua.cli.options import reject_overrides
from bua.cli.outputs import check_file, write_json
from bua.engine.instantiate import to_plain
from bua.errors import InputError
from bua.evaluation.captions import CaptionScoring, describe_caption_scores, score_captions
from bua.evaluation.vqa import VQAScoring, describe_vqa_scores, score_vqa

log = logging.getLogger(__name__)

#: Keys that have no effect for each task.
REJECTED_KEYS = {
    "caption": ("questions", "annotations", "rule", "pairs", "answers"),
    "vqa": ("references", "splits", "ids", "metrics", "tokenizer", "flagged"),
}


@dataclass
class Options:
    """Keys of the command, described in conf/score.yaml."""

    task: str
    predictions: str
    out: str | None
    references: str | None
    splits: str | list[str]
    ids: str | None
    metrics: str | list[str]
    tokenizer: str
    flagged: bool
    allow_missing: bool
    questions: str | None
    annotations: str | None
    rule: str
    pairs: str | None
    answers: str | None


def main(options: Options) -> None:
    """Score, write the result and print it."""
    if options.task not in REJECTED_KEYS:
        raise InputError(f"task={options.task}: must be {' or '.join(REJECTED_KEYS)}")
    reject_overrides(REJECTED_KEYS[options.task], f"task={options.task} does not take it")
    check_file(options.out)
    if options.task == "caption":
        result = score_captions(_caption_scoring(options))
        lines = describe_caption_scores(result)
    else:
        result = score_vqa(_vqa_scoring(options))
        lines = describe_vqa_scores(result)
    for line in lines:
        log.info(line)
    if options.out is not None:
        write_json(options.out, result, "scores with their provenance", indent=2)


def _caption_scoring(options: Options) -> CaptionScoring:
    if options.references is None:
        raise InputError("references must be given for task=caption: references=FILE")
    metrics = to_plain(options.metrics)
    return CaptionScoring(
        predictions=options.predictions,
        references=options.references,
        splits=to_plain(options.splits),
        ids=options.ids,
        metrics=[metrics] if isinstance(metrics, str) else metrics,
        tokenizer=options.tokenizer,
        allow_missing=options.allow_missing,
        flagged=options.flagged,
    )


def _vqa_scoring(options: Options) -> VQAScoring:
    if options.annotations is None:
        raise InputError("annotations must be given for task=vqa: annotations=FILE")
    return VQAScoring(
        predictions=options.predictions,
        annotations=options.annotations,
        questions=options.questions,
        rule=options.rule,
        pairs=options.pairs,
        answers=options.answers,
        allow_missing=options.allow_missing,
    )
