"""Names of the folders of a sweep's jobs: the overrides in which jobs differ."""

import hashlib
import re
from collections.abc import Collection, Sequence

#: Length of a name in bytes; file systems allow 255, and files beside the folder have longer names.
MAX_BYTES = 200
#: Folders of a path that is a value, which is reduced to its last part.
_FOLDERS = re.compile(r"(?<==)[^=,]*/(?=[^/,]+)")
_UNUSUAL = re.compile(r"[\s'\"/\\${}()\[\]*?<>|&;!`\x00-\x1f\x7f]")


def override_key(word: str) -> str:
    """Return the key of an override such as ``+a.b=c``."""
    return word.partition("=")[0].lstrip("+")


def differing(overrides: Sequence[str], fixed: Collection[str]) -> list[str]:
    """Return the overrides of a job without those that all jobs have.

    Args:
        overrides: All overrides of the job.
        fixed: Keys whose values are the same for all jobs.
    """
    return [word.lstrip("+") for word in overrides if override_key(word) not in fixed]


def job_folder(overrides: Sequence[str], number: int, fixed: Collection[str]) -> str:
    """Return the name of a job's folder, such as ``optimizer.lr=0.001,seed=2``.

    Paths are reduced to their last part, and characters that a shell would read are replaced. A name that
    was changed ends in a hash of the overrides, so that different jobs always have different names.

    Args:
        overrides: All overrides of the job.
        number: Position of the job in the sweep, which is the name of a job without overrides of its own.
        fixed: Keys whose values are the same for all jobs.
    """
    full = ",".join(differing(overrides, fixed))
    if not full:
        return str(number)
    name = _UNUSUAL.sub("_", _FOLDERS.sub("", full))
    if len(name.encode()) > MAX_BYTES:
        name = name.encode()[:MAX_BYTES].decode(errors="ignore")
    return name if name == full else f"{name}-{hashlib.sha256(full.encode()).hexdigest()[:8]}"
