"""A model or data of one kind are refused by an objective of another, before anything is read or written."""

from pathlib import Path

import pytest

from bua.cli.kinds import check_kinds
from tests.helpers.commands import run_error
from tests.helpers.configurations import compose_config
from tests.helpers.parity import ROOT

EXPERIMENTS = sorted(file.stem for file in (ROOT / "conf/experiment").glob("*.yaml"))
MIXED = [
    (
        ["experiment=vqa_scenes", "model=updown_small"],
        "model=updown_small is for captioning, but objective=vqa",
    ),
    (["experiment=caption_scenes", "model=updown_hu_small"], "model=updown_hu_small is for VQA"),
    (
        ["experiment=caption_scenes", "model=fpn_rcnn"],
        "model=fpn_rcnn is for detection, but objective=cross_",
    ),
    (
        ["experiment=caption_scenes", "objective=vqa"],
        "data=captions is for captioning, but objective=vqa is for VQA",
    ),
    (
        ["experiment=vqa_scenes", "objective=cross_entropy"],
        "data=vqa is for VQA, but objective=cross_entropy",
    ),
    (["experiment=detector_scenes", "objective=vqa"], "data=detection is for detection, but objective=vqa"),
]


@pytest.mark.parametrize(("words", "message"), MIXED, ids=str)
def test_kinds_that_do_not_fit_are_refused_in_one_line(
    words, message: str, scenes, tmp_path: Path, capfd
) -> None:
    line = run_error(capfd, "train", *words, f"scenes={scenes}", f"out={tmp_path}/run")
    assert message in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_fits(name: str) -> None:
    check_kinds(compose_config("train", f"experiment={name}"), {})


def test_classes_of_other_packages_are_of_no_kind() -> None:
    check_kinds({"objective": {"_target_": "bua.tasks.vqa.VQATask"}, "model": {"_target_": "mine.Model"}}, {})
