"""Reporting the findings of a validator, and what a model cannot know."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from bua.data.scenes.world import CANVAS
from bua.detectors.photo_files import PhotoFile
from bua.errors import InputError
from bua.io.orientation import read_header
from bua.text.vocabulary import UNKNOWN, Vocabulary

log = logging.getLogger(__name__)

#: Detector that was trained on synthetic scenes only.
SCENES_DETECTOR = "scenes_fpn"
#: Number of images whose size is looked at.
_SAMPLE = 16


def report_findings(path: Path, remarks: Sequence[str], problems: Sequence[str], note: str = "") -> None:
    """Log remarks, print problems to stderr, and log that the file is valid if there are none.

    Args:
        path: File that was validated.
        remarks: Observations that may be intended, one line per remark.
        problems: Mistakes, one line per problem.
        note: Text to add if the file is valid. Default: none.

    Raises:
        InputError: If there are problems; its message is the last of them.
    """
    for remark in remarks:
        log.info(remark)
    for problem in problems[:-1]:
        print(problem, file=sys.stderr)
    if problems:
        raise InputError(problems[-1])
    log.info(f"{path}: valid{note}")


def warn_of_photographs(detector: str, files: Sequence[PhotoFile], command: str) -> None:
    """Report on stderr that images are not synthetic scenes if the detector knows nothing else.

    Args:
        detector: Name of the detector.
        files: Images, the first of which are looked at.
        command: Name of the command, which starts the line.
    """
    if detector != SCENES_DETECTOR:
        return
    for file in files[:_SAMPLE]:
        try:
            size = read_header(file.path).turned_size
        except InputError:  # reported where it is decoded
            continue
        if size != (CANVAS, CANVAS):
            print(
                f"{command}: {file.path.name} is not a synthetic scene, but the detector {SCENES_DETECTOR} "
                "was trained on nothing else; what it finds there means nothing, see docs/detectors.md",
                file=sys.stderr,
            )
            return


def warn_of_unknown_words(vocabulary: Vocabulary, question: str, command: str) -> None:
    """Report on stderr the words of a question that a model does not know.

    Args:
        vocabulary: Words of the model.
        question: Question in words.
        command: Name of the command, which starts the line.
    """
    pairs = zip(vocabulary.tokenize(question), vocabulary.encode(question), strict=True)
    unknown = dict.fromkeys(word for word, index in pairs if index == UNKNOWN)
    if unknown:
        words = ", ".join(map(repr, unknown))
        print(f"{command}: the model does not know the words {words} of the question", file=sys.stderr)
