"""Control characters in texts of others are shown, and an output that is closed or full is reported."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bua.cli.text import printable
from tests.helpers.commands import run_error, run_ok
from tests.helpers.parity import ROOT


@given(st.text(st.characters(codec=None)))
def test_what_is_printed_holds_no_control_characters_and_can_be_encoded(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert not [c for c in shown if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160]
    if text.isprintable():
        assert shown == text


def test_control_characters_in_file_names_are_shown_and_not_obeyed(tmp_path, capfd) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "photos" / "1.png")
    (tmp_path / "photos" / "\x1b[31mred\x9b.png").write_text("not an image")
    run_ok("extract", f"images={tmp_path}/photos", f"out={tmp_path}/f.h5", "detector=random")
    printed = capfd.readouterr()
    assert r"\x1b[31mred\x9b.png: not an image" in printed.err
    assert not {"\x1b", "\x9b"} & {*printed.err, *printed.out}
    assert r"\x1b[2J" in run_error(capfd, "features", "info", f"file={tmp_path}/\x1b[2J.h5")


def run_with_output(output: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = f'"{sys.executable}" -m bua {" ".join(arguments)} {output}'
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.parametrize("arguments", [("--help",), ("doctor",)])
def test_a_full_output_is_one_line_and_a_failure(arguments) -> None:
    done = run_with_output(">/dev/full", *arguments)
    assert done.returncode == 2
    line = "bua: standard output: No space left on device; the results in files are complete\n"
    assert done.stderr == line


def test_a_closed_output_ends_quietly_with_the_code_of_a_broken_pipe() -> None:
    done = run_with_output("| (exec <&-; sleep 1); echo ${PIPESTATUS[0]}", "--help")
    assert (done.stdout, done.stderr) == ("141\n", "")
