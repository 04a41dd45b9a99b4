"""A library that crashes or hangs on a damaged file is reported in one line."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from bua.errors import InputError
from bua.store.formats import FORMATS, isolated_reader
from bua.store.formats.isolated_reader import IsolatedReader
from bua.store.formats.source import InvalidImageError, Source, SourceImage


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)


def spin():
    re.match("(a+)+$", "a" * 60 + "b")  # runs in C almost forever, without checking for signals


def fail():
    raise InvalidImageError("why not")


def reader(*actions):
    """Return a reader of images, each of which performs one of the actions when it is decoded."""

    def read(source):
        for n, action in enumerate(actions):
            yield SourceImage(n, f"row {n}", action)

    return IsolatedReader(read)


def spinning(source):
    yield SourceImage(0, "row 0", lambda: 1)
    spin()


@pytest.fixture(autouse=True)
def impatient(monkeypatch) -> None:
    monkeypatch.setattr(isolated_reader, "TIMEOUT_SECONDS", 1)


def test_images_and_errors_arrive_in_order(tmp_path) -> None:
    items = reader(lambda: "a", fail, lambda: "c")(Source(tmp_path))
    assert next(items).read() == "a"
    with pytest.raises(InvalidImageError, match="why not"):
        next(items).read()
    last = next(items)
    assert (last.name, last.location, last.read()) == (2, "row 2", "c")
    assert next(items, "end") == "end"


def test_images_that_are_not_requested_are_not_decoded(tmp_path) -> None:
    assert [item.name for item in reader(crash, crash)(Source(tmp_path))] == [0, 1]


@pytest.mark.parametrize(
    ("action", "message"), [(crash, "crashed the process"), (spin, "took more than 1 seconds")]
)
def test_a_crash_and_a_hang_end_in_one_line_with_the_name_of_the_file(action, message, tmp_path) -> None:
    items = reader(lambda: "a", action)(Source(tmp_path / "f.h5"))
    assert next(items).read() == "a"
    with pytest.raises(InputError, match=rf"f\.h5: .*{message}.*damaged") as caught:
        next(items).read()
    assert "\n" not in str(caught.value)


def test_a_hang_between_two_images_ends_as_well(tmp_path) -> None:
    items = IsolatedReader(spinning)(Source(tmp_path))
    next(items)
    with pytest.raises(InputError, match="took more than"):
        next(items)


def test_a_reader_left_early_leaves_no_process(tmp_path) -> None:
    items = IsolatedReader(lambda source: iter([SourceImage(os.getpid(), "", lambda: os.getpid())]))(
        Source(tmp_path)
    )
    child = next(items).read()
    items.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_killed_command_leaves_no_process_that_runs_forever(tmp_path) -> None:
    code = (
        "import sys; sys.path.insert(0, '.'); import tests.store.test_isolated_reader as t, os, pathlib\n"
        "t.isolated_reader.TIMEOUT_SECONDS = 2\n"
        "def read(source):\n    print(os.getpid(), flush=True); t.spin(); yield\n"
        "next(t.IsolatedReader(read)(t.Source(pathlib.Path('f'))))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        process.kill()
    os.kill(child, 0)
    for _ in range(100):
        time.sleep(0.1)
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
    pytest.fail(f"process {child} goes on")


def test_every_hdf5_and_lmdb_format_is_read_in_a_separate_process() -> None:
    kept = {name for name, form in FORMATS.items() if isinstance(form.read, IsolatedReader)}
    assert kept == {name for name in FORMATS if name.endswith(("_hdf5", "_lmdb"))}
    assert len(kept) == 6
