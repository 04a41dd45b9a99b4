"""Run commands in this process, and check their exit code and messages."""

from bua.cli import main


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
