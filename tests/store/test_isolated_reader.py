"""A library that crashes or never ends over a damaged file ends as one line."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from bua.errors import InputError
from bua.store.formats import FORMATS, apart
from bua.store.formats.isolated_reader import IsolatedReader
from bua.store.formats.item import InvalidImageError, Item, Source


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)


def spin():
    re.match("(a+)+$", "a" * 60 + "b")  # in C, for ages, without looking at signals


def unsound():
    raise InvalidImageError("why not")


def reader(*actions):
    """Read images of which each does something."""

    def read(source):
        for n, action in enumerate(actions):
            yield Item(n, f"row {n}", action)

    return IsolatedReader(read)


def spinning(source):
    yield Item(0, "row 0", lambda: 1)
    spin()


@pytest.fixture(autouse=True)
def impatient(monkeypatch) -> None:
    monkeypatch.setattr(apart, "PATIENCE", 1)


def test_images_and_reasons_come_through_in_order(tmp_path) -> None:
    items = reader(lambda: "a", unsound, lambda: "c")(Source(tmp_path))
    assert next(items).read() == "a"
    with pytest.raises(InvalidImageError, match="why not"):
        next(items).read()
    last = next(items)
    assert (last.name, last.where, last.read()) == (2, "row 2", "c")
    assert next(items, "end") == "end"


def test_images_nobody_asks_for_are_not_decoded(tmp_path) -> None:
    assert [item.name for item in reader(crash, crash)(Source(tmp_path))] == [0, 1]


@pytest.mark.parametrize(
    ("action", "said"), [(crash, "ended the process"), (spin, "did not end in 1 seconds")]
)
def test_a_crash_and_a_hang_end_in_one_line_with_the_name_of_the_file(action, said, tmp_path) -> None:
    items = reader(lambda: "a", action)(Source(tmp_path / "f.h5"))
    assert next(items).read() == "a"
    with pytest.raises(InputError, match=rf"f\.h5: .*{said}.*damaged") as caught:
        next(items).read()
    assert "\n" not in str(caught.value)


def test_a_hang_between_two_images_ends_too(tmp_path) -> None:
    items = IsolatedReader(spinning)(Source(tmp_path))
    next(items)
    with pytest.raises(InputError, match="did not end"):
        next(items)


def test_a_reader_left_early_leaves_no_process(tmp_path) -> None:
    items = IsolatedReader(lambda source: iter([Item(os.getpid(), "", lambda: os.getpid())]))(
        Source(tmp_path)
    )
    child = next(items).read()
    items.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_killed_command_leaves_no_process_that_spins_for_ever(tmp_path) -> None:
    code = (
        "import sys; sys.path.insert(0, '.'); import tests.store.test_isolated_reader as t, os, pathlib\n"
        "t.apart.PATIENCE = 2\n"
        "def read(source):\n    print(os.getpid(), flush=True); t.spin(); yield\n"
        "next(t.Apart(read)(t.Source(pathlib.Path('f'))))"
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


def test_every_format_of_hdf5_and_lmdb_is_read_apart() -> None:
    kept = {name for name, form in FORMATS.items() if isinstance(form.read, IsolatedReader)}
    assert kept == {name for name in FORMATS if name.endswith(("_hdf5", "_lmdb"))}
    assert len(kept) == 6
