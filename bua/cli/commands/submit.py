"""``bua submit``: check predictions, and write them to a file for a test server."""

import logging
from dataclasses import dataclass

from bua.cli.options import reject_overrides
from bua.errors import InputError
from bua.evaluation.submission import SERVER_FORMATS, prepare_submission
from bua.io.files import file_sha256
from bua.io.write import write_text

log = logging.getLogger(__name__)
#: Keys that have no effect for each task.
REJECTED_KEYS = {"caption": ("questions", "answers"), "vqa": ("images",)}


@dataclass
class Options:
    """Keys of the command, described in conf/submit.yaml."""

    task: str
    predictions: str
    out: str
    questions: str | None
    images: str | None
    split: str | None
    name: str | None
    answers: str | None


def main(options: Options) -> None:
    """Check everything, then write the file."""
    if options.task not in SERVER_FORMATS:
        raise InputError(f"task={options.task}: must be {' or '.join(SERVER_FORMATS)}")
    reject_overrides(REJECTED_KEYS[options.task], f"task={options.task} does not take it")
    server = SERVER_FORMATS[options.task]
    source = getattr(options, server.source)
    if source is None:
        raise InputError(f"{server.source} must be given for task={options.task}: {server.source}=FILE")
    submission = prepare_submission(
        options.task,
        options.predictions,
        source,
        options.out,
        split=options.split,
        name=options.name,
        answers=options.answers,
    )
    for line in submission.warnings:
        log.info(f"{options.predictions}: {line}")
    write_text(submission.path, submission.text)
    log.info(
        f"{submission.path}: {submission.count} {server.value}s, {len(submission.text) / 1e6:.1f} MB, sha256 "
        f"{file_sha256(submission.path)}"
    )
