"""Write files so that a crash, a full disk or a second writer never leaves an incomplete one.

Everything that bua writes as a whole goes through ``atomic_files``: into a temporary file next to the
target, which is flushed to disk and then takes its name. Errors are one line that names the file.

What takes long to write is protected by a lock that allows one writer at a time; the system releases it when
a process ends or is killed.
"""

import contextlib
import errno
import fcntl
import io
import itertools
import os
import platform
import re
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from bua.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

#: Errors of a file system that has no room or takes no writes.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_SUFFIX = ".partial"
_numbers = itertools.count()
#: Folders whose leftovers a process has removed, with the id of the process.
_cleaned: set[tuple[int, Path]] = set()


def write_text(path: Path | str, text: str) -> None:
    """Write a text file as UTF-8: after a crash it holds either the old or the new content.

    Raises:
        InputError: If it cannot be written.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path | str, content: bytes, *, sync: bool = True) -> None:
    """Write a file: after a crash it holds either the old or the new content.

    Args:
        path: File to write.
        content: Bytes to write.
        sync: Whether to wait until the disk has them; not for thousands of small files. Default: True.

    Raises:
        InputError: If it cannot be written.
    """
    if Path(path).is_dir():
        raise InputError(f"{path}: is a directory, expected a file name")
    with atomic_files(Path(path), sync=sync) as (partial,):
        partial.write_bytes(content)


def save_image(image: "Image.Image", path: Path, *, quality: int) -> None:
    """Write a Pillow image as JPEG, without waiting for the disk.

    Args:
        image: Image.
        path: File to write.
        quality: Quality of the JPEG compression, from 1 to 95.

    Raises:
        InputError: If it cannot be written.
    """
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    write_bytes(path, content.getvalue(), sync=False)


@contextlib.contextmanager
def atomic_files(*outs: Path, sync: bool = True) -> Iterator[tuple[Path, ...]]:
    """Yield a temporary path for each file or folder; at the end, they take the names, the first one last.

    A symbolic link is kept, and its target replaced. A pipe or a device is never replaced: the content is
    written to it.

    Args:
        outs: Files or folders to write.
        sync: Whether to wait until the disk has them. Default: True.

    Raises:
        InputError: If they cannot be written.
    """
    targets = tuple(Path(os.path.realpath(out)) if out.is_symlink() else out for out in outs)
    special = {out for out in outs if is_special(out)}
    partials: list[Path] = []
    try:
        for out, target in zip(outs, targets, strict=True):
            partials.append(_temporary_path(target, out in special))
        yield tuple(partials)
        if sync:
            _sync(partials)
        for out, target, partial in reversed(list(zip(outs, targets, partials, strict=True))):
            if out in special:
                _copy_into(partial, out)
            else:
                os.replace(partial, target)
                if sync:
                    sync_folder(target.parent)
    except OSError as error:
        raise InputError(f"{outs[0]}: cannot be written ({describe_disk_error(error, outs[0])})") from None
    finally:
        for partial in partials:
            _remove(partial)


@contextlib.contextmanager
def atomic_folders(*outs: Path) -> Iterator[tuple[Path, ...]]:
    """Yield a temporary folder for each folder; otherwise like ``atomic_files``."""
    with atomic_files(*outs) as partials:
        for partial in partials:
            partial.mkdir()
        yield partials


def is_special(path: Path) -> bool:
    """Return whether a path is a pipe, a device or a socket, which must not be replaced by a file."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def check_replaceable(path: Path) -> None:
    """Raise ``InputError`` if a path is a folder, a pipe or a device, which no file can replace."""
    if path.is_dir():
        raise InputError(f"{path}: is a directory, expected a file name")
    if is_special(path):
        raise InputError(f"{path}: is a pipe or a device; give the name of a file")


def describe_disk_error(error: OSError, path: Path | str) -> str:
    """Return the reason of an error; if there is no room, with the mount point of the file system."""
    reason = error.strerror or str(error)
    if error.errno not in DISK_ERRORS:
        return reason
    folder = Path(os.path.realpath(path)).parent
    mount = next((parent for parent in (folder, *folder.parents) if os.path.ismount(parent)), folder)
    return f"{reason}: {mount}"


def sync_folder(path: Path) -> None:
    """Flush a directory to disk, so that renames in it survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporary_path(target: Path, special: bool) -> Path:
    """Return a path that no other writer uses."""
    name = f"{target.name}.{platform.node()}-{os.getpid()}-{next(_numbers)}{_SUFFIX}"
    if special:
        return Path(tempfile.gettempdir()) / name
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target.parent)
    return target.with_name(name)


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed processes of this machine; once, as a folder may be large."""
    if (os.getpid(), folder) in _cleaned:
        return
    _cleaned.add((os.getpid(), folder))
    leftover = re.compile(rf".+\.{re.escape(platform.node())}-(\d+)-\d+{re.escape(_SUFFIX)}")
    for path in folder.iterdir():
        match = leftover.fullmatch(path.name)
        if match and not is_alive(int(match[1])):
            _remove(path)


def is_alive(pid: int) -> bool:
    """Return whether a process of this machine is running."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _copy_into(source: Path, special: Path) -> None:
    """Write the content of a file to a pipe or a device; a pipe that nobody reads is an error."""
    descriptor = os.open(special, os.O_WRONLY | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    with open(descriptor, "wb") as sink, open(source, "rb") as file:
        shutil.copyfileobj(file, sink)


def _sync(paths: list[Path]) -> None:
    if any(path.is_dir() for path in paths):
        os.sync()  # one call, whatever the number of files
        return
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


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
