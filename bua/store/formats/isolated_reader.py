"""Read files in a separate process if the library that reads them trusts their content.

HDF5 and LMDB use lengths and addresses from the file without checking them: a few changed bytes can
crash the process that reads them or keep it busy forever. Here this affects only a child process.
"""

import contextlib
import faulthandler
import multiprocessing
import signal
from collections.abc import Callable, Generator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bua.errors import InputError
from bua.store.formats.source import RawImage, Source, SourceImage

ReadFunction = Callable[[Source], Generator[SourceImage, None, None]]
#: Time limit for opening a file or reading one image.
TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class IsolatedReader:
    """Runs a reader in a child process.

    Images are transferred one by one, and only requested images are decoded.

    Attributes:
        read: Function that yields the images of a source.
    """

    read: ReadFunction

    def __call__(self, source: Source) -> Generator[SourceImage, None, None]:
        """Yield the images of a source.

        Raises:
            InputError: If ``read`` raises it, or the child process crashes or exceeds the time limit.
        """
        parent_end, child_end = multiprocessing.Pipe()
        process = multiprocessing.Process(
            target=_serve, args=(child_end, parent_end, self.read, source, TIMEOUT_SECONDS), daemon=True
        )
        process.start()
        child_end.close()
        reader = _ChildReader(process, parent_end, source.path)
        try:
            while (answer := reader.request("next")) is not None:
                name, location = answer
                yield SourceImage(name, location, reader.decode)
        finally:
            process.kill()
            process.join()
            parent_end.close()


@dataclass(frozen=True)
class _ChildReader:
    """Sends requests to the child process and returns its answers."""

    process: multiprocessing.Process
    connection: Connection
    path: Path

    def request(self, message: str) -> Any:
        try:
            self.connection.send(message)
            answer = self.connection.recv()
        except (EOFError, OSError):
            raise InputError(f"{self.path}: {self._describe_exit()}; the file is damaged") from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def decode(self) -> RawImage:
        raw: RawImage = self.request("decode")
        return raw

    def _describe_exit(self) -> str:
        self.process.join()
        if self.process.exitcode == -signal.SIGALRM:
            return f"reading it took more than {TIMEOUT_SECONDS} seconds"
        return f"reading it crashed the process (exit code {self.process.exitcode})"


def _serve(
    connection: Connection, parent_end: Connection, read: ReadFunction, source: Source, timeout: int
) -> None:
    """Answer requests until the parent process is gone.

    The time limit is an alarm of the operating system, which ends this process even inside a library call
    and even if the parent process no longer exists.
    """
    parent_end.close()
    faulthandler.disable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    items, item = read(source), None
    with contextlib.suppress(EOFError, OSError):
        while message := connection.recv():
            signal.alarm(timeout)
            try:
                if message == "next":
                    item = next(items, None)
                    answer: Any = item and (item.name, item.location)
                else:
                    assert item is not None
                    answer = item.read()
            except Exception as error:  # any error is raised in the parent process
                answer = error
            signal.alarm(0)
            connection.send(answer)
