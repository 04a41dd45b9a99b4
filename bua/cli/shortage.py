"""What a machine has run out of when a command fails."""

import errno
import re

from bua.io.write import DISK_ERRORS

#: What torch says if there is not enough memory, on the CPU or a GPU.
OUT_OF_MEMORY = re.compile(r"out of memory|DefaultCPUAllocator: (can't allocate|not enough) memory")


def describe_shortage(error: Exception) -> str | None:
    """Return one line about permissions, disk space, open files or memory, or None about anything else."""
    if isinstance(error, OSError):
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return "too many open files; use fewer num_workers, or a higher ulimit -n"
        if error.filename is None and error.errno not in DISK_ERRORS:
            return None
        return f"{'a file' if error.filename is None else error.filename}: {error.strerror}"
    if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error)):
        reason = str(error).split("\n")[0][:200] or type(error).__name__
        return f"memory ran out ({reason}); use a smaller batch_size or fewer num_workers"
    return None
