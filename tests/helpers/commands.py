"""Run commands in this process or in a forked one, and check their exit code and messages."""

import multiprocessing
import os
import signal

import torch

from bua.cli import main
from bua.tasks.base import BaseTask


def run_ok(*arguments: object) -> None:
    """Run a command that must succeed."""
    assert main([str(argument) for argument in arguments]) == 0


def run_error(capfd, *arguments: object) -> str:
    """Run a command that must fail with exit code 2, and return its only line on stderr."""
    code = main([str(argument) for argument in arguments])
    captured = capfd.readouterr()
    lines = captured.err.strip().splitlines()
    assert code == 2, captured
    assert len(lines) == 1, lines
    assert lines[0].startswith(("bua: ", "bua "))
    return lines[0]


def train_until_killed(batch: int, *arguments: object) -> None:
    """Run a training in a forked process, which is killed when a batch of this number has ended."""
    process = multiprocessing.get_context("fork").Process(target=_train_and_die, args=(batch, arguments))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


def _train_and_die(last: int, arguments: tuple[object, ...]) -> None:
    torch.set_num_threads(1)  # threads do not survive a fork
    end_of_batch, ended = BaseTask.on_train_batch_end, []

    def on_train_batch_end(self: BaseTask, outputs: object, batch: object, batch_idx: int) -> None:
        end_of_batch(self, outputs, batch, batch_idx)
        ended.append(batch_idx)
        if len(ended) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    BaseTask.on_train_batch_end = on_train_batch_end  # type: ignore[method-assign]
    run_ok(*arguments)
