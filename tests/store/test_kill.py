"""A writer that is killed at any moment can resume and ends in the same contents."""

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest

from bua.errors import InputError
from bua.io.write import acquire_lock, release_lock
from bua.store.writer import remove_leftovers
from tests.helpers.stores import regions, write_store

WRITER = """
import sys
from pathlib import Path
from bua.store import StoreWriter
from tests.helpers.stores import METADATA, regions
with StoreWriter(Path(sys.argv[1]), METADATA) as writer:
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
def test_killed_at_any_moment_it_resumes_and_ends_in_the_same_contents(tmp_path) -> None:
    def start(path: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        process.stdout.readline()
        return process

    reference = start(tmp_path / "reference.h5")
    started = time.monotonic()
    assert reference.wait() == 0
    duration = time.monotonic() - started
    expected = contents(tmp_path / "reference.h5")
    killed = 0
    for n in range(8):
        path = tmp_path / f"{n}.h5"
        for fraction in (0.15 + 0.09 * n, 0.4):
            process = start(path)
            time.sleep(duration * fraction)
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
            if path.exists():
                break
        if not path.exists():
            assert start(path).wait() == 0
        assert contents(path) == expected
    assert killed >= 4


@pytest.mark.parametrize("left", [["lock"], ["shards"], ["lock", "shards"], ["rank01.lock", "shards"]])
def test_whatever_a_killed_writer_left_beside_its_finished_file_is_removed(left, tmp_path) -> None:
    """It may be killed between any two of its last steps, so that its lock alone is left."""
    out = write_store(tmp_path / "f.h5", {1: regions(2)})
    for name in left:
        path = tmp_path / f"f.h5.{name}"
        if name == "shards":
            path.mkdir()
            (path / "manifest-00.jsonl").write_text("{}")
        else:
            path.write_text("process 1 on somewhere")
    remove_leftovers(out)
    assert [path.name for path in tmp_path.iterdir()] == ["f.h5"]
    remove_leftovers(out)
    assert [path.name for path in tmp_path.iterdir()] == ["f.h5"]


def test_the_leftovers_of_a_writer_that_is_alive_are_kept(tmp_path) -> None:
    out = write_store(tmp_path / "f.h5", {1: regions(2)})
    lock = acquire_lock(tmp_path / "f.h5.lock", out)
    with pytest.raises(InputError, match="f.h5: is being written by process"):
        remove_leftovers(out)
    assert (tmp_path / "f.h5.lock").exists()
    release_lock(lock)
