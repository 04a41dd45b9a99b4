"""Reading in a process of its own, where a library trusts what it finds in a file.

HDF5 and LMDB take lengths and addresses from the file as they stand: a few changed bytes can end the
process that reads them, or keep it busy for ever. Here that is a process with nothing else to lose.
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
from bua.store.formats.item import Item, Raw, Source

Read = Callable[[Source], Generator[Item, None, None]]
#: Seconds that opening a file, or reading one image, may take.
TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class IsolatedReader:
    """Reads as ``read`` does, but in another process.

    Images come one by one, and only those that are asked for are decoded and sent.
    """

    read: Read

    def __call__(self, source: Source) -> Generator[Item, None, None]:
        """Read a source.

        Raises:
            InputError: as ``read`` does, or reading ended the process, or did not end.
        """
        here, there = multiprocessing.Pipe()
        process = multiprocessing.Process(
            target=_serve, args=(there, here, self.read, source, TIMEOUT_SECONDS), daemon=True
        )
        process.start()
        there.close()
        reader = _Reader(process, here, source.path)
        try:
            while (head := reader.ask("next")) is not None:
                name, where = head
                yield Item(name, where, reader.decode)
        finally:
            process.kill()
            process.join()
            here.close()


@dataclass(frozen=True)
class _Reader:
    process: multiprocessing.Process
    wire: Connection
    path: Path

    def ask(self, what: str) -> Any:
        try:
            self.wire.send(what)
            answer = self.wire.recv()
        except (EOFError, OSError):
            raise InputError(f"{self.path}: {self._end()}; the file is damaged") from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def decode(self) -> Raw:
        raw: Raw = self.ask("decode")
        return raw

    def _end(self) -> str:
        self.process.join()
        if self.process.exitcode == -signal.SIGALRM:
            return f"reading it did not end in {TIMEOUT_SECONDS} seconds"
        return f"reading it ended the process (exit code {self.process.exitcode})"


def _serve(wire: Connection, other: Connection, read: Read, source: Source, patience: int) -> None:
    """Answer requests until the asking process is gone.

    The alarm is the system's: it ends this process within a library, and without anybody who waits.
    """
    other.close()
    faulthandler.disable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    items, item = read(source), None
    with contextlib.suppress(EOFError, OSError):
        while asked := wire.recv():
            signal.alarm(patience)
            try:
                if asked == "next":
                    item = next(items, None)
                    answer: Any = item and (item.name, item.where)
                else:
                    assert item is not None
                    answer = item.read()
            except Exception as error:  # whatever it is belongs to the process that asked
                answer = error
            signal.alarm(0)
            wire.send(answer)
