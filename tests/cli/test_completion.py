"""TAB completes commands, options, groups, keys, values and files, in the shells themselves."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bua.cli.arguments import SHELLS
from bua.cli.completion import SCRIPTS, answer, split_line
from bua.cli.main import COMMANDS, main
from tests.helpers.parity import ROOT


def candidates(line: str, shell: str = "fish") -> list[str]:
    """Return the answers to TAB at the end of a line."""
    return answer(f"query={shell}", COMMANDS, {"COMP_LINE": line}).splitlines()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("bua tra", ["train"]),
        ("bua features i", ["info", "import"]),
        ("bua -m trai", ["train"]),
        ("bua train experiment=caption_scenes_", ["experiment=caption_scenes_mean"]),
        ("bua train model=updown_t", ["model=updown_teney", "model=updown_teney_small"]),
        ("bua train -m model=ban,updown_teney_", ["model=ban,updown_teney_small"]),
        ("bua train experiment=caption_scenes sce", ["scenes="]),
        ("bua train see", ["seed="]),
        ("bua train seed=1 see", []),
        ("bua train experiment=vqa_scenes data.q", ["data.questions."]),
        ("bua train data=vqa data.questions.pad", ["data.questions.padding="]),
        (
            "bua train data=vqa data.questions.padding=",
            [f"data.questions.padding={x}" for x in ("front", "end")],
        ),
        ("bua train decode@", ["decode@objective.decoder="]),
        ("bua train decode@objective.decoder=gr", ["decode@objective.decoder=greedy"]),
        ("bua train compile=t", ["compile=true"]),
        ("bua train optimizer.lr=", []),
        ("bua train ++trainer.max_ep", ["++trainer.max_epochs="]),
        ("bua train --mult", ["--multirun"]),
        ("bua train --cfg ", ["job", "hydra", "all"]),
        ("bua features import format=grid", ["format=grid_feats_pth"]),
        ("bua train experiment=nothing_such sav", ["save_every="]),
        ("bua fly ", []),
    ],
)
def test_the_last_word_is_completed(line: str, expected: list[str]) -> None:
    assert candidates(line) == expected


def test_every_command_and_every_option_of_a_group_is_completed() -> None:
    assert set(candidates("bua ")) == {command.split()[0] for command in COMMANDS}
    files = {f"experiment={file.stem}" for file in (ROOT / "conf/experiment").glob("*.yaml")}
    assert set(candidates("bua train experiment=")) == files
    assert len(files) > 20


def test_files_are_completed_in_values_and_lists(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my photos").mkdir()
    (tmp_path / "my photos" / "a b.jpg").touch()
    (tmp_path / ".hidden").touch()
    assert candidates("bua extract images=") == ["images=my photos/"]
    assert candidates("bua extract images=.h") == ["images=.hidden"]
    assert candidates("bua predict ensemble=[a,m") == ["ensemble=[a,my photos/"]
    assert candidates("bua extract images=my\\ photos/", "bash") == ["my\\ photos/a\\ b.jpg "]
    assert candidates('bua extract images="my photos/a', "bash") == ['my photos/a b.jpg" ']


def test_a_line_is_split_as_the_shell_does_and_at_the_cursor() -> None:
    assert split_line("bua train 'a b") == (["bua", "train"], "a b", "'")
    assert split_line("bua train ") == (["bua", "train"], "", "")
    line = "bua trai experiment=x"
    assert answer("query=zsh", COMMANDS, {"COMP_LINE": line, "COMP_POINT": "8"}) == "train\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_printed_for_every_shell(shell: str, capsys) -> None:
    for words in (["-sc", f"install={shell}"], ["train", "--shell-completion", f"install={shell}"]):
        assert main(words) == 0
        assert capsys.readouterr().out == SCRIPTS[shell][0]
    assert main(["-sc", f"uninstall={shell}"]) == 0
    assert capsys.readouterr().out == SCRIPTS[shell][1]


def test_a_shell_that_is_not_supported_is_refused_in_one_line(capsys) -> None:
    assert main(["-sc", "install=tcsh"]) == 2
    assert "--shell-completion install=tcsh: must be install=bash or " in capsys.readouterr().err


def test_completion_imports_neither_hydra_nor_torch_and_is_fast() -> None:
    code = (
        "import sys; from bua.cli import main; main(['-sc', 'query=fish'])\n"
        "print([m for m in ('torch', 'hydra', 'omegaconf', 'h5py', 'numpy') if m in sys.modules])"
    )
    environment = {**os.environ, "COMP_LINE": "bua train experiment=updown_nocaps_cbs_xe data.voc"}
    children = os.times().children_user
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["data.vocabulary.", "[]"]
    assert os.times().children_user - children < 0.3  # of the processor, which other tests use, too


@pytest.fixture
def commands(tmp_path) -> Path:
    """A folder with the command ``bua`` of this checkout."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m bua "$@"\n'
    (folder / "bua").write_text(script)
    (folder / "bua").chmod(0o755)
    return folder


def type_in_terminal(command: list[str], setup: str, line: str, folder: Path, done: str) -> str:
    """Type a line and TAB in a shell in a terminal of its own, and return what it shows."""
    process, terminal = pty.fork()
    if process == 0:  # in the terminal
        os.environ.update(PATH=f"{folder}:{os.environ['PATH']}", TERM="dumb", PS1="$ ", HOME=str(folder))
        os.execvp(command[0], command)
    shown = ""
    try:
        os.write(terminal, f"{setup}; echo re''ady\n".encode())
        sent, end = False, time.monotonic() + 30
        while time.monotonic() < end and done not in shown.rpartition("ready")[2]:
            if select.select([terminal], [], [], 0.1)[0]:
                shown += os.read(terminal, 4096).decode(errors="replace")
            if not sent and "ready\r" in shown:
                os.write(terminal, f"{line}\t".encode())
                sent = True
    finally:
        os.close(terminal)
        os.kill(process, 9)
        os.waitpid(process, 0)
    return shown.rpartition("ready")[2]


TERMINALS = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}
TYPED = [
    ("bua features ch", "eck "),
    ("bua train experiment=caption_scenes_m", "ean "),
    ("bua train experiment=caption_scenes trainer.grad", "ient_clip_"),
    ("bua extract images=my\\ ph", "otos/"),
]


@pytest.mark.parametrize("shell", TERMINALS)
@pytest.mark.parametrize(("line", "rest"), TYPED)
def test_tab_completes_in_a_terminal(shell: str, line: str, rest: str, commands, tmp_path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (commands / "my photos").mkdir()
    setup = f'cd {commands}; eval "$(bua -sc install={shell})"'
    shown = type_in_terminal(TERMINALS[shell], setup, line, commands, rest.strip())
    assert rest.strip() in shown.replace(line, "", 1)


def test_tab_completes_in_fish(commands) -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    script = "bua -sc install=fish | source; for x in $argv; complete -C $x; end"
    environment = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}"}
    lines = ["bua features ch", "bua train experiment=caption_scenes_m"]
    done = subprocess.run(
        ["fish", "--no-config", "-c", script, *lines],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["check", "experiment=caption_scenes_mean"]
