"""Stages of a long command: each is told, timed, done once, and named when it fails."""

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bua.errors import InputError
from bua.io.atomic import write_text
from bua.io.json_file import read_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """One stage: a name, what it does in a sentence, and the function that does it."""

    name: str
    what: str
    run: Callable[[], Any]


def run_stages(
    stages: list[Stage], journal: Path, options: Mapping[str, Any], command: str
) -> dict[str, Any]:
    """Run the stages that ``journal`` does not say are done, and return what each gave.

    Args:
        stages: in order.
        journal: JSON file that remembers what is done.
        options: what decides the results; a journal with other options is refused.
        command: the command to start again.

    Raises:
        InputError: a stage failed; it is named, and the same command continues from it.
    """
    done: dict[str, Any] = {"options": dict(options), "stages": {}}
    if journal.exists():
        done = read_json(journal)
        if done["options"] != dict(options):
            raise InputError(
                f"{journal.parent}: begun with other options ({done['options']}); give another out"
            )
    for number, stage in enumerate(stages, 1):
        head = f"[{number}/{len(stages)}] {stage.name}"
        if stage.name in done["stages"]:
            log.info(f"{head}: done before")
            continue
        log.info(f"{head}: {stage.what}")
        started = time.monotonic()
        result = _guarded(stage, head, command)
        seconds = time.monotonic() - started
        done["stages"][stage.name] = {"seconds": round(seconds, 1), "what": stage.what, "result": result}
        write_text(journal, json.dumps(done, indent=1))
        follows = f"; next: {stages[number].name}" if number < len(stages) else ""
        log.info(f"{head}: took {seconds:.0f} s{follows}")
    return done


def _guarded(stage: Stage, head: str, command: str) -> Any:
    try:
        return stage.run()
    except Exception as error:
        if os.environ.get("BUA_TRACEBACK"):
            raise
        reason = str(error) or type(error).__name__
        raise InputError(f"stage {head} failed: {reason}; {command} goes on from there") from error
