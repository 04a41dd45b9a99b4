"""``bua captions check``: find what is wrong with a file of captions."""

import logging
import sys
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from bua.data.captions.files.check import check_captions, count_words, wordless
from bua.data.captions.vocabulary import VocabularyOptions
from bua.errors import InputError
from bua.store.reader import FeatureStore

log = logging.getLogger(__name__)


def main(config: Any) -> None:
    """Say what a file holds, and everything that is wrong with it, one line each."""
    path = Path(config.file)
    rule = VocabularyOptions(**OmegaConf.to_container(config.data.vocabulary, resolve=True))  # type: ignore[arg-type]
    store = FeatureStore(config.features) if config.features is not None else None
    found = check_captions(path, splits=config.splits, store=store, image_key=config.image_key)
    problems = [*found.problems]
    try:
        vocabulary = rule.vocabulary(found.file, found.file, [found.whole])
    except InputError as error:  # what is wrong with the captions is said all the same
        problems.append(str(error))
    else:
        for line in count_words(found.file, vocabulary, config.max_length):
            log.info(line)
        log.info(f"vocabulary ({rule}): {len(vocabulary):,} words with the four special ones")
        problems += wordless(found.file, vocabulary)
    for remark in found.remarks:
        log.info(remark)
    for problem in problems[:-1]:
        print(problem, file=sys.stderr)
    if problems:
        raise InputError(problems[-1])
    log.info(f"{path}: sound")
