"""``bua questions check``: find what is wrong with a file of questions."""

import logging
import sys
from pathlib import Path
from typing import Any

from bua.data.vqa.files.check import check_questions
from bua.errors import InputError
from bua.store.reader import FeatureStore
from bua.text.answers import AnswerVocabulary

log = logging.getLogger(__name__)


def main(config: Any) -> None:
    """Say what a file holds, and everything that is wrong with it, one line each."""
    path = Path(config.file)
    store = FeatureStore(config.features) if config.features is not None else None
    found = check_questions(path, config.annotations, store)
    log.info(str(found.file))
    if found.file.asked is not None:
        answers = AnswerVocabulary.count(
            ((asked.most_frequent, asked.answers) for asked in found.file.asked),
            min_count=config.min_answer_count,
            keep_empty=config.keep_empty,
        )
        without = sum(not answers.soft_scores(asked.answers) for asked in found.file.asked)
        log.info(
            f"{path}: {len(answers):,} answers are the most frequent one of at least "
            f"{config.min_answer_count} questions; {without:,} questions have none of them"
        )
    for remark in found.remarks:
        log.info(remark)
    for problem in found.problems[:-1]:
        print(problem, file=sys.stderr)
    if found.problems:
        raise InputError(found.problems[-1])
    log.info(f"{path}: sound")
