"""One writer at a time: locks that the system releases when a process ends, however it ends."""

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from bua.errors import InputError

#: Locks that this process holds. A forked child inherits them, and would go on holding them for
#: seconds after this process was killed; so it lets go at once.
_held: set[IO[str]] = set()


def _let_go() -> None:
    while _held:
        _held.pop().close()


os.register_at_fork(after_in_child=_let_go)


def lock_file(out: Path, rank: int) -> Path:
    """Return the lock of one of the processes that write ``out`` together."""
    return out.with_name(f"{out.name}.lock" if rank == 0 else f"{out.name}.rank{rank:02d}.lock")


def take(path: Path, out: Path) -> IO[str]:
    """Take a lock; closing the file gives it back.

    Raises:
        InputError: another process holds it, which is named.
    """
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - open as long as the lock is held
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
            raise BlockingIOError  # the writer before us was just putting its lock away
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise InputError(f"{out}: {holder} is writing it") from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    _held.add(file)
    return file


def give_back(file: IO[str]) -> None:
    """Remove a lock that this process holds."""
    Path(file.name).unlink(missing_ok=True)
    _held.discard(file)
    file.close()


def require_alone(out: Path) -> None:
    """Raise ``InputError`` while a process of an earlier team is still alive; remove what is dead.

    A team whose first process was killed may have others that have not noticed yet.
    """
    for path in sorted(out.parent.glob(f"{out.name}.rank*.lock")):
        give_back(take(path, out))
