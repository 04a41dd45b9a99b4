"""``bua questions check``: find mistakes in a file of questions."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from bua.cli.findings import report_findings
from bua.cli.options import POSITIVE
from bua.data.vqa.files import describe_questions
from bua.data.vqa.files.check import check_questions
from bua.store.reader import FeatureStore
from bua.text.answers import AnswerVocabulary

log = logging.getLogger(__name__)


@dataclass
class Options:
    """Keys of the command, described in conf/questions_check.yaml."""

    file: str
    annotations: str | None
    features: str | None
    keep_empty: bool
    min_answer_count: int = field(metadata=POSITIVE)


def main(options: Options) -> None:
    """Print a summary of a file of questions, and every problem with it, one per line."""
    path = Path(options.file)
    store = FeatureStore(options.features) if options.features is not None else None
    found = check_questions(path, options.annotations, store)
    log.info(describe_questions(found.file))
    if found.file.annotations is not None:
        answers = AnswerVocabulary.from_questions(
            ((annotation.most_frequent, annotation.answers) for annotation in found.file.annotations),
            min_count=options.min_answer_count,
            keep_empty=options.keep_empty,
        )
        without = sum(not answers.soft_scores(annotation.answers) for annotation in found.file.annotations)
        log.info(
            f"{path}: {len(answers):,} answers are the most frequent answer to at least "
            f"{options.min_answer_count} questions; {without:,} questions have none of them"
        )
    report_findings(path, found.remarks, found.problems)
