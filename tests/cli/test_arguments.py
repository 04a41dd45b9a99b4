"""Options stand anywhere on the command line, and mistakes in them name what was probably meant."""

import itertools

import pytest

from bua.cli.arguments import split_arguments
from bua.cli.main import main
from bua.errors import InputError
from tests.helpers.commands import run_error


@pytest.mark.parametrize("words", list(itertools.permutations(["extract", "images=x", "out=y", "--resolve"])))
@pytest.mark.parametrize("cfg", [["--cfg", "job"], ["-c", "job"], ["--cfg=job"]])
def test_options_stand_anywhere(words: tuple[str, ...], cfg: list[str]) -> None:
    if words.index("extract") > min(words.index("images=x"), words.index("out=y")):
        return
    for position in range(len(words) + 1):
        arguments = split_arguments([*words[:position], *cfg, *words[position:]])
        assert arguments.words == [word for word in words if word != "--resolve"]
        assert arguments.flags == {"--cfg": "job", "--resolve": ""}
        assert set(arguments.for_hydra()) == {"--cfg=job", "--resolve"}


@pytest.mark.parametrize(
    "words",
    [
        ["doctor", "--cfg", "job"],
        ["--cfg", "job", "scenes", "out=x"],
        ["scenes", "--cfg", "job", "out=x"],
        ["scenes", "out=x", "--package", "seed", "--cfg=job", "seed=3"],
        ["scenes", "--info", "out=x"],
        ["scenes", "out=x", "--info", "config"],
        ["train", "experiment=caption_scenes", "--cfg", "job", "scenes=x"],
    ],
    ids=" ".join,
)
def test_commands_run_with_options_anywhere(words: list[str], capsys) -> None:
    assert main(words) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--multirn"], "there is no option --multirn; did you mean '--multirun'?"),
        (["train", "-x"], "there is no option -x; the options are --help, "),
        (["train", "--cfg"], "--cfg needs a value: job or hydra or all"),
        (["train", "--cfg", "everything"], "--cfg everything: must be job or hydra or all"),
        (["train", "--resolve=true"], "--resolve=true: --resolve takes no value"),
        (["train", "-m", "--cfg", "job"], "--cfg and --multirun exclude each other"),
        (
            ["train", "caption_scenes"],
            "'caption_scenes': must be KEY=VALUE; did you mean 'experiment=caption",
        ),
        (["extract", "image"], "'image': must be KEY=VALUE; did you mean 'images='?"),
        (
            ["train", "experiment=caption_smal"],
            "there is no experiment=caption_smal; did you mean 'caption_small'?",
        ),
        (["extract", "detector=random", "detector.feature_siz=3"], "did you mean 'detector.feature_size'?"),
    ],
)
def test_mistakes_are_reported_with_what_was_meant(words: list[str], message: str, capfd) -> None:
    assert message in run_error(capfd, *words)


@pytest.mark.parametrize(
    "words", [["--help", "train"], ["train", "-h"], ["help", "train"], ["train", "seed=1", "--help"]]
)
def test_help_of_a_command_is_shown(words: list[str], capsys) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("usage: bua train")


def test_an_unknown_option_of_a_group_is_reported_by_help_as_well(capfd) -> None:
    assert "there is no model=updwn; did you mean 'updown'?" in run_error(
        capfd, "train", "model=updwn", "--help"
    )


def test_a_value_that_looks_like_an_option_is_a_value() -> None:
    assert split_arguments(["ask", "question=-m"]).words == ["ask", "question=-m"]
    with pytest.raises(InputError, match="there is no option -3"):
        split_arguments(["ask", "-3"])
