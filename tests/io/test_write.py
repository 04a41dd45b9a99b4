"""Files are replaced as a whole: by one writer or several, when killed, and without room."""

import multiprocessing
import os
import resource
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from bua.errors import InputError
from bua.io.write import atomic_files, check_replaceable, write_bytes, write_text

FORK = multiprocessing.get_context("fork")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_forever(path: Path) -> None:
    for n in range(10**9):
        write_bytes(path, bytes([n % 256]) * 300_000)


def test_a_killed_writer_leaves_a_whole_file_and_the_next_one_removes_its_leftovers(tmp_path) -> None:
    path = tmp_path / "f.bin"
    write_bytes(path, b"old" * 100_000)
    num_leftovers = 0
    for n in range(12):
        process = FORK.Process(target=write_forever, args=(path,))
        process.start()
        time.sleep(0.01 + 0.003 * n)
        process.kill()
        process.join()
        content = path.read_bytes()
        assert len(content) == 300_000
        assert len(set(content)) <= 3
        num_leftovers += len(names(tmp_path)) - 1
    assert num_leftovers > 0
    process = FORK.Process(target=write_bytes, args=(path, b"new"))
    process.start()
    process.join()
    assert names(tmp_path) == ["f.bin"]


def test_several_writers_of_one_file_all_succeed(tmp_path) -> None:
    path = tmp_path / "f.txt"
    processes = [FORK.Process(target=write_text, args=(path, f"{n}" * 100_000)) for n in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 6
    assert len(set(path.read_text())) == 1
    assert names(tmp_path) == ["f.txt"]


def test_an_error_while_writing_leaves_the_old_content_and_no_temporary_file(tmp_path) -> None:
    def fail() -> None:
        with atomic_files(tmp_path / "f.txt", tmp_path / "g.txt") as (one, _other):
            one.write_text("new")
            raise RuntimeError

    write_text(tmp_path / "f.txt", "old")
    with pytest.raises(RuntimeError):
        fail()
    assert names(tmp_path) == ["f.txt"]
    assert (tmp_path / "f.txt").read_text() == "old"


def test_a_symbolic_link_is_kept_and_its_target_replaced(tmp_path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.txt").symlink_to(tmp_path / "folder" / "f.txt")
    write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "folder" / "f.txt").read_text() == "new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path) -> None:
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    time.sleep(0.2)
    write_bytes(pipe, b"x" * 200_000)
    reader.join(10)
    assert received == [b"x" * 200_000]
    assert pipe.is_fifo()


def test_a_pipe_without_a_reader_is_reported_at_once(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"pipe: cannot be written \(No such device or address\)"):
        write_text(tmp_path / "pipe", "text")
    with pytest.raises(InputError, match="pipe: is a pipe or a device; give the name of a file"):
        check_replaceable(tmp_path / "pipe")


def write_with_limit(path: Path, outcome) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        write_bytes(path, b"x" * 10_000)
    except InputError as error:
        outcome.put(str(error))


def test_a_file_beyond_the_limit_is_one_line_that_names_the_file_and_its_file_system(tmp_path) -> None:
    outcome = FORK.Queue()
    process = FORK.Process(target=write_with_limit, args=(tmp_path / "f.bin", outcome))
    process.start()
    assert "f.bin: cannot be written (File too large: /" in outcome.get(timeout=20)
    process.join()
    assert names(tmp_path) == []


def test_a_full_disk_is_one_line_that_names_the_file_and_its_file_system(small_disk) -> None:
    with pytest.raises(InputError) as error:
        write_bytes(small_disk / "f.bin", b"x" * 2**21)
    line = f"{small_disk}/f.bin: cannot be written (No space left on device: {small_disk})"
    assert str(error.value) == line
    assert names(small_disk) == []


def test_the_parent_folder_is_created_and_a_folder_is_not_replaced(tmp_path) -> None:
    write_text(tmp_path / "a" / "b" / "f.txt", "text")
    with pytest.raises(InputError, match="is a directory, expected a file name"):
        write_text(tmp_path / "a", "text")
    subprocess.run(["touch", tmp_path / "a" / "f"], check=True)
    with pytest.raises(InputError, match=r"cannot be written \((Not a directory|File exists)"):
        write_text(tmp_path / "a" / "f" / "g.txt", "text")
