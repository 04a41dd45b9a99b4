"""A writer killed at any moment goes on and ends in the same contents."""

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest

WRITER = """
import sys
from pathlib import Path
from bua.store import StoreWriter
from tests.conftest import ABOUT, regions
with StoreWriter(Path(sys.argv[1]), ABOUT) as writer:
    print("ready", flush=True)
    for shard in range(6):
        ids = range(shard * 10, shard * 10 + 10)
        if not set(ids) <= writer.done:
            writer.write([(i, regions(8, width=400, seed=i)) for i in ids])
    writer.pack(list(range(60)))
"""


def contents(path: Path) -> str:
    with h5py.File(path) as file:
        arrays = {name: file[name][:].tobytes() for name in sorted(file)}
    return hashlib.sha256(repr(arrays).encode()).hexdigest()


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_and_ends_in_the_same_contents(tmp_path) -> None:
    def start(path: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        process.stdout.readline()
        return process

    whole = start(tmp_path / "whole.h5")
    begun = time.monotonic()
    assert whole.wait() == 0
    took = time.monotonic() - begun
    expected = contents(tmp_path / "whole.h5")
    killed = 0
    for n in range(8):
        path = tmp_path / f"{n}.h5"
        for share in (0.15 + 0.09 * n, 0.4):
            process = start(path)
            time.sleep(took * share)
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
            if path.exists():
                break
        if not path.exists():
            assert start(path).wait() == 0
        assert contents(path) == expected
    assert killed >= 4
