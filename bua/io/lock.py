"""File locks that allow one writer at a time; the system releases them when a process ends or is killed."""

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from bua.errors import InputError

#: Locks held by this process. A forked child inherits them and would keep them for seconds after this
#: process was killed, so it closes them at once.
_held_locks: set[IO[str]] = set()


def _close_inherited_locks() -> None:
    while _held_locks:
        _held_locks.pop().close()


os.register_at_fork(after_in_child=_close_inherited_locks)


def lock_path(out: Path, rank: int) -> Path:
    """Return the path of the lock of one process among those that write ``out`` together.

    Args:
        out: File that the processes write.
        rank: Rank of the process; each rank has a lock of its own.
    """
    return out.with_name(f"{out.name}.lock" if rank == 0 else f"{out.name}.rank{rank:02d}.lock")


def acquire_lock(path: Path, out: Path, activity: str = "written") -> IO[str]:
    """Acquire a lock and write the process id and host into it.

    Args:
        path: Lock file, created if it does not exist.
        out: File or folder that the lock protects, named in messages.
        activity: What the holder does with it, for messages. Default: "written".

    Returns:
        The open lock file; closing it releases the lock.

    Raises:
        InputError: If another process holds the lock; the message names that process.
    """
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - stays open as long as the lock is held
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
            raise BlockingIOError  # the previous writer has just removed its lock
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise InputError(f"{out}: is being {activity} by {holder}") from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    _held_locks.add(file)
    return file


def release_lock(file: IO[str]) -> None:
    """Release a lock of this process and remove its file."""
    Path(file.name).unlink(missing_ok=True)
    _held_locks.discard(file)
    file.close()


def clear_stale_locks(out: Path) -> None:
    """Remove the locks that earlier processes of other ranks left behind.

    If rank 0 of an earlier run was killed, its other ranks may still be alive for a while.

    Raises:
        InputError: If one of those processes is still alive.
    """
    for path in sorted(out.parent.glob(f"{out.name}.rank*.lock")):
        release_lock(acquire_lock(path, out))
