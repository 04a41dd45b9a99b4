"""The example of a plugin is installed, trained, resumed and loaded like a model of bua."""

import json
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

import bua
from bua.cli.search_path import register_search_path
from bua.detectors.detector import Detector
from bua.engine.instantiate import instantiate
from bua.engine.loading import build_detector
from bua.engine.trust import trusting
from bua.errors import InputError
from bua.store import FeatureStore
from tests.helpers.commands import run_ok
from tests.helpers.configurations import compose_config
from tests.helpers.packages import write_package
from tests.helpers.parity import ROOT

PLUGIN = ROOT / "examples" / "plugin"
TEXTS = [(ROOT / "docs" / "plugins.md").read_text(), (PLUGIN / "README.md").read_text()]
#: Commands of the documentation that use the plugin.
COMMANDS = [
    line
    for text in TEXTS
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("bua train") and "luong" in line
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Iterator[Path]:
    """The folder that the plugin is installed in."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    pip += ["--no-deps", "--no-build-isolation", "--target", str(folder), str(PLUGIN)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(folder))
        yield folder


@pytest.fixture(scope="module")
def run(installed, scenes, tmp_path_factory) -> Path:
    """A run of the plugin that was resumed once, without any word of trust."""
    out = tmp_path_factory.mktemp("plugin") / "run"
    words = ["train", "experiment=luong_scenes", f"scenes={scenes}", f"out={out}", "scheduler=constant"]
    words += ["model.word_size=8", "model.hidden_size=12", "trainer.accelerator=cpu"]
    run_ok(*words, "trainer.max_epochs=1")
    run_ok(*words, "trainer.max_epochs=2", "resume=true")
    return out


def test_an_installed_plugin_trains_and_resumes(run) -> None:
    header, *rows = (run / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["0", "1"]
    assert "val/repetitions" in header
    record = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["bua"]
    assert record["model"]["class"] == "bua_luong.captioner.LuongCaptioner"
    assert json.loads((run / "provenance.json").read_text())["packages"]["bua-luong"] == "0.1.0"


def test_the_run_of_a_plugin_is_loaded_and_predicts(run, scenes, tmp_path) -> None:
    output = bua.load(run).caption(min((scenes / "images").iterdir()))
    assert output.attention.shape[1] == len(output.regions)
    run_ok("predict", f"run={run}", f"out={tmp_path}/p.json", "split=val", "device=cpu", "decode.beam_size=2")
    assert len(json.loads((tmp_path / "p.json").read_text())) == 8


def test_the_run_of_a_plugin_that_is_not_installed_names_it(run, installed, monkeypatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "bua_luong"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(installed)])
    with pytest.raises(InputError, match="package bua_luong is not installed; install it, and if you trust"):
        bua.load(run)


def test_the_tests_of_the_plugin_pass(installed) -> None:
    tests = runpy.run_path(str(PLUGIN / "tests" / "test_captioner.py"))
    functions = [value for name, value in tests.items() if name.startswith("test_")]
    assert len(functions) >= 3
    for function in functions:
        function()


def test_there_are_commands_with_the_plugin() -> None:
    assert len(COMMANDS) >= 3


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_documentation_composes(line: str, installed) -> None:
    register_search_path()
    config = compose_config("train", *shlex.split(line)[2:])
    assert config.model._target_ == "bua_luong.captioner.LuongCaptioner"


def test_a_configuration_of_bua_prevails_over_one_of_a_plugin(tmp_path, monkeypatch) -> None:
    name = write_package(monkeypatch, tmp_path, "")
    (tmp_path / name / "conf" / "model").mkdir(parents=True)
    for option in ("updown", "own_model"):
        (tmp_path / name / "conf" / "model" / f"{option}.yaml").write_text(yaml.safe_dump({"own": True}))
    register_search_path()
    with trusting([name]):
        assert "own" not in compose_config("train", "model=updown").model
        assert compose_config("train", "model=own_model").model.own


DETECTOR = """
from bua.detectors.random_detector import RandomDetector


class OwnDetector(RandomDetector):
    def configuration(self):
        return {**super().configuration(), "class": f"{__name__}.OwnDetector"}


class NoDetector:
    def __init__(self, **_): ...
"""


def test_a_detector_of_another_package_extracts_and_is_rebuilt(scenes, tmp_path, monkeypatch, capfd) -> None:
    name = write_package(monkeypatch, tmp_path, DETECTOR)
    words = ["extract", f"images={min((scenes / 'images').iterdir())}", f"out={tmp_path}/f.h5", "device=cpu"]
    words += ["detector=random", f"trust={name}", "num_workers=0"]
    run_ok(*words, f"detector._target_={name}.OwnDetector")
    identity = FeatureStore(tmp_path / "f.h5").metadata.identity
    with pytest.raises(InputError, match=f"detector 'random': {name}.OwnDetector may not be built: package"):
        build_detector(identity, weights=None, device="cpu")
    with trusting([name]):
        assert type(build_detector(identity, weights=None, device="cpu")).__name__ == "OwnDetector"


def test_an_object_that_is_no_detector_is_refused(scenes, tmp_path, monkeypatch) -> None:
    name = write_package(monkeypatch, tmp_path, DETECTOR)
    with trusting([name]), pytest.raises(InputError, match="NoDetector: must have the members of bua.detec"):
        instantiate({"_target_": f"{name}.NoDetector"}, kind=Detector)
