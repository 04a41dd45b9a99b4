"""What a machine has run out of when a command fails."""

import errno
import re

from bua.io.write import DISK_ERRORS

#: What torch says if there is not enough memory, on the CPU or a GPU.
OUT_OF_MEMORY = re.compile(r"out of memory|DefaultCPUAllocator: (can't allocate|not enough) memory")

#: What torch says wherever it is while a worker process of a loader ends.
LOST_WORKER = re.compile(r"DataLoader worker .*(killed by signal|exited unexpectedly)")


def describe_shortage(error: Exception) -> str | None:
    """Return one line about what a machine lacks or a worker that is lost, or None about anything else."""
    if isinstance(error, OSError):
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return "too many open files; use fewer num_workers, or a higher ulimit -n"
        if error.filename is None and error.errno == errno.ENOENT:  # of a semaphore
            return "worker processes need /dev/shm, which does not exist; use num_workers=0"
        if error.filename is None and error.errno not in DISK_ERRORS:
            return None
        return f"{'a file' if error.filename is None else error.filename}: {error.strerror}"
    if LOST_WORKER.search(str(error)):
        return (
            "a worker process ended unexpectedly, probably killed because memory ran out; use fewer "
            "num_workers or a smaller batch_size"
        )
    if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error)):
        reason = str(error).split("\n")[0][:200] or type(error).__name__
        return f"memory ran out ({reason}); use a smaller batch_size or fewer num_workers"
    return None
