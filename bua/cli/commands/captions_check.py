"""``bua captions check``: find mistakes in a caption file."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bua.cli.findings import report_findings
from bua.cli.options import POSITIVE
from bua.data.captions.datamodule import VocabularyOptions
from bua.data.captions.files.check import check_captions, describe_words, find_wordless_captions
from bua.engine.instantiate import instantiate, to_plain
from bua.errors import InputError
from bua.store.reader import FeatureStore

log = logging.getLogger(__name__)


@dataclass
class Options:
    """Keys of the command, described in conf/captions_check.yaml."""

    file: str
    splits: str | list[str]
    features: str | None
    vocabulary_file: str | None
    image_key: str
    max_length: int = field(metadata=POSITIVE)
    data: Any


def main(options: Options) -> None:
    """Print a summary of a caption file, and every problem with it, one per line."""
    path = Path(options.file)
    vocabulary_options = instantiate(options.data.vocabulary, kind=VocabularyOptions)
    store = FeatureStore(options.features) if options.features is not None else None
    found = check_captions(path, splits=to_plain(options.splits), store=store, image_key=options.image_key)
    problems = [*found.problems]
    try:
        vocabulary = vocabulary_options.build(found.file, found.file, [found.all_images])
    except InputError as error:  # the problems of the captions are reported anyway
        problems.append(str(error))
    else:
        for line in describe_words(found.file, vocabulary, options.max_length):
            log.info(line)
        log.info(
            f"vocabulary ({vocabulary_options}): {len(vocabulary):,} words including the four special tokens"
        )
        problems += find_wordless_captions(found.file, vocabulary)
    report_findings(path, found.remarks, problems)
