"""Stages of a long command: each is announced, timed, run only once, and named if it fails."""

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from bua.errors import InputError
from bua.io.files import read_json
from bua.io.schema import validate
from bua.io.write import write_text

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: Name of the stage.
        what: Description of the stage, for the log.
        run: Function that runs the stage and returns plain values.
    """

    name: str
    what: str
    run: Callable[[], Any]


class _Done(TypedDict):
    seconds: float
    what: str
    result: Any


class _Journal(TypedDict):
    options: dict[str, Any]
    stages: dict[str, _Done]


def run_stages(
    stages: list[Stage], journal: Path, options: Mapping[str, Any], command: str
) -> dict[str, Any]:
    """Run the stages that are not done yet, and return the content of the journal.

    Args:
        stages: Stages in order.
        journal: JSON file that records which stages are done and what they returned.
        options: Options that the results depend on; a journal with other options is rejected.
        command: Command with which to continue after a failure.

    Raises:
        InputError: If a stage fails, or the journal has other options; the message names the stage.
    """
    done: dict[str, Any] = {"options": dict(options), "stages": {}}
    if journal.exists():
        done = read_json(journal)
        validate(done, _Journal, journal, "not a journal of a quickstart; delete it")
        if done["options"] != dict(options):
            changed = next(key for key in options if done["options"].get(key) != options[key])
            raise InputError(
                f"{journal.parent}: was started with {changed}={done['options'].get(changed)}, not "
                f"{changed}={options[changed]}; choose another out="
            )
    for number, stage in enumerate(stages, 1):
        head = f"[{number}/{len(stages)}] {stage.name}"
        if stage.name in done["stages"]:
            log.info(f"{head}: already done")
            continue
        log.info(f"{head}: {stage.what}")
        started = time.monotonic()
        result = _run(stage, head, command)
        seconds = time.monotonic() - started
        done["stages"][stage.name] = {"seconds": round(seconds, 1), "what": stage.what, "result": result}
        write_text(journal, json.dumps(done, indent=1))
        following = f"; next: {stages[number].name}" if number < len(stages) else ""
        log.info(f"{head}: took {seconds:.0f} s{following}")
    return done


def _run(stage: Stage, head: str, command: str) -> Any:
    try:
        return stage.run()
    except Exception as error:
        if os.environ.get("BUA_TRACEBACK"):
            raise
        reason = str(error) or type(error).__name__
        raise InputError(f"stage {head} failed: {reason}; {command} continues from there") from error
