"""Classes of other packages are used after an explicit word of trust, which no received file can say."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

import bua
from bua.cli import main
from bua.engine import trusting
from bua.engine.instantiate import instantiate
from bua.errors import InputError
from tests.helpers.captioners import training
from tests.helpers.commands import run_error, run_ok
from tests.helpers.packages import CAPTIONER, write_package


def own_training(scenes: Path, run: Path, target: str, *more: str) -> list[str]:
    return training(scenes, run, "model=mean_pooled", f"model._target_={target}", *more)


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Iterator[str]:
    """The name of an importable package with a captioner."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield write_package(monkeypatch, tmp_path_factory.mktemp("captioners"), CAPTIONER)


@pytest.fixture(scope="module")
def trained(package, scenes, tmp_path_factory) -> Path:
    """A run of this captioner."""
    out = tmp_path_factory.mktemp("own") / "run"
    run_ok(*own_training(scenes, out, f"{package}.OwnCaptioner", f"trust=[{package}]"))
    return out


@pytest.fixture
def run(trained, package, tmp_path, monkeypatch) -> Path:
    """A copy of the run, in a process that has not imported its package."""
    monkeypatch.delitem(sys.modules, package, raising=False)
    return Path(shutil.copytree(trained, tmp_path / "received"))


def refusal(package: str) -> str:
    return (
        f"{package}.OwnCaptioner may not be built: package {package} is not trusted; if you trust its code, "
        f"give trust=[{package}] or set BUA_TRUST={package}"
    )


def caption(run: Path, scenes: Path, *more: str) -> list[object]:
    return ["caption", f"run={run}", f"images={min((scenes / 'images').iterdir())}", "device=cpu", *more]


def test_a_package_that_nobody_trusts_is_not_imported(scenes, tmp_path, capfd, monkeypatch) -> None:
    name = write_package(monkeypatch, tmp_path, CAPTIONER)
    line = run_error(capfd, *own_training(scenes, tmp_path / "run", f"{name}.OwnCaptioner"))
    assert line == f"bua train: {refusal(name)}"
    assert name not in sys.modules
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("word", ["trust=[{}]", "trust={}", "+trust=[json_lines_of_nobody,{}]", "BUA_TRUST"])
def test_a_word_of_trust_lets_a_command_load_a_model(word: str, run, package, scenes, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "json_lines_of_nobody", json)  # another package, to make a list
    if word == "BUA_TRUST":
        monkeypatch.setenv("BUA_TRUST", f"other, {package}")
        word = "device=cpu"
    run_ok(*caption(run, scenes, word.format(package)))
    assert package in sys.modules


def test_trust_lasts_as_long_as_the_command_and_reaches_the_processes_that_it_starts(
    run, package, scenes, capfd, monkeypatch
) -> None:
    monkeypatch.setenv("BUA_TRUST", "other")
    run_ok(*caption(run, scenes, f"trust={package}"))
    assert f"other,{package}" == sys.modules[package].TRUSTED
    assert os.environ["BUA_TRUST"] == "other"
    capfd.readouterr()
    assert refusal(package) in run_error(capfd, *caption(run, scenes))


def test_a_run_does_not_record_trust(trained) -> None:
    texts = [path.read_text() for path in trained.iterdir() if path.suffix in (".yaml", ".json")]
    assert len(texts) >= 4
    assert not any("trust" in text for text in texts)
    record = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)["bua"]
    assert "trust" not in str(record)


def test_python_code_says_which_packages_it_trusts(run, package, scenes) -> None:
    with pytest.raises(InputError, match=package) as raised:
        bua.load(run)
    assert str(raised.value) == f"{run}: {refusal(package)}"
    assert package not in sys.modules
    photo = min((scenes / "images").iterdir())
    assert bua.load(run, trust=[package]).caption(photo).regions.features.shape[1] == 12
    with trusting([package]):
        bua.load(run)
    with pytest.raises(InputError, match="is not trusted"):
        bua.load(run)


def test_a_run_whose_package_is_missing_says_which_it_needs(run, package, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if not (Path(path) / package).exists()])
    with pytest.raises(InputError, match=f"package {package} is not installed; install it, and if you trust"):
        bua.load(run)


def add_entry_point(run: Path, package: str) -> None:
    (run / "evil-1.0.dist-info").mkdir()
    (run / "evil-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (run / "evil-1.0.dist-info" / "entry_points.txt").write_text(f"[bua.plugins]\nevil = {package}\n")


def add_to_config(run: Path, package: str) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    hydra = {"job": {"env_set": {"BUA_TRUST": package}}}
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "trust": [package], "hydra": hydra}))


def add_to_overrides(run: Path, package: str) -> None:
    words = yaml.safe_load((run / "overrides.yaml").read_text())
    (run / "overrides.yaml").write_text(yaml.safe_dump([*words, f"trust=[{package}]"]))


def add_to_checkpoint(run: Path, package: str) -> None:
    path = run / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    for place in (content, content["bua"], content["bua"]["model"]):
        place["trust"] = [package]
    torch.save(content, path)


ATTACKS = [add_entry_point, add_to_config, add_to_overrides, add_to_checkpoint]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_nothing_in_a_received_run_makes_a_package_trusted(
    attack, run, package, scenes, capfd, monkeypatch
) -> None:
    attack(run, package)
    monkeypatch.chdir(run)
    predict = ["predict", f"run={run}", f"out={run}/p.json", "device=cpu", "split=val"]
    resume = own_training(scenes, run, f"{package}.OwnCaptioner", "resume=true")
    for command in (caption(run, scenes), predict, resume):
        assert refusal(package) in run_error(capfd, *command)
    assert package not in sys.modules


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("trust: [{}]", "stands in a configuration, where it does not count"),
        ("hydra: {{job: {{env_set: {{BUA_TRUST: {}}}}}}}", "BUA_TRUST: does not count in a configuration"),
    ],
)
def test_a_received_experiment_makes_no_package_trusted(
    content: str, message: str, scenes, tmp_path, capfd, monkeypatch
) -> None:
    name = write_package(monkeypatch, tmp_path, CAPTIONER)
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    text = f"# @package _global_\ndefaults: [caption_scenes]\n{content.format(name)}\n"
    (tmp_path / "conf" / "experiment" / "received.yaml").write_text(text)
    words = own_training(scenes, tmp_path / "run", f"{name}.OwnCaptioner", "experiment=received")
    words.remove("experiment=caption_scenes")
    assert message in run_error(capfd, words[0], f"--config-dir={tmp_path}/conf", *words[1:])
    assert name not in sys.modules


@pytest.mark.parametrize("launcher", ["processes", "basic"])
def test_a_received_sweep_makes_no_package_trusted(
    launcher: str, scenes, tmp_path, capfd, monkeypatch
) -> None:
    name = write_package(monkeypatch, tmp_path, CAPTIONER)
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    hydra = f"hydra: {{sweeper: {{params: {{+trust: {name}}}}}}}"
    text = f"# @package _global_\ndefaults: [caption_scenes]\n{hydra}\n"
    (tmp_path / "conf" / "experiment" / "received.yaml").write_text(text)
    words = own_training(scenes, tmp_path / "sweep", f"{name}.OwnCaptioner", "experiment=received", "-m")
    words.remove("experiment=caption_scenes")
    options = [f"--config-dir={tmp_path}/conf", f"hydra/launcher={launcher}"]
    assert main([*words, *options]) == 2
    assert "does not count" in capfd.readouterr().err
    assert name not in sys.modules


def test_the_schedule_of_a_resumed_run_is_not_imported_without_trust(
    trained, scenes, package, tmp_path, capfd, monkeypatch
) -> None:
    name = write_package(monkeypatch, tmp_path, "class Schedule: ...")
    copy = Path(shutil.copytree(trained, tmp_path / "run"))
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["scheduler"] = {"_target_": f"{name}.Schedule"}
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    words = [f"trust={package}", "resume=true", "~scheduler", f"+scheduler._target_={name}.Schedule"]
    line = run_error(capfd, *own_training(scenes, copy, f"{package}.OwnCaptioner", *words))
    assert f"package {name} is not trusted" in line
    assert name not in sys.modules


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("trust=[no_such_package]", "trust=no_such_package: Python finds no package no_such_package"),
        ("trust=[os]", "trust=os: is part of Python"),
        ("trust=builtins", "trust=builtins: is part of Python"),
        ("trust=my-package", "by which Python imports a package, such as my_package"),
        ("trust=[mypkg.models]", "by which Python imports a package, such as mypkg"),
        ("trust=[../evil]", "by which Python imports a package"),
    ],
)
def test_a_package_that_cannot_be_trusted_is_refused(word: str, message: str, capfd, tmp_path) -> None:
    assert message in run_error(capfd, "caption", f"run={tmp_path}", f"images={tmp_path}", word)
    names = word.removeprefix("trust=").strip("[]").split(",")
    with pytest.raises(InputError), trusting(names):
        pass


def test_a_command_that_builds_nothing_takes_no_word_of_trust(capfd, package) -> None:
    line = run_error(capfd, "features info", "file=f.h5", f"trust=[{package}]")
    assert f"trust=[{package}]: uses no class of another package; train" in line


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("OwnCaptionr", "has no class OwnCaptionr; did you mean OwnCaptioner?"),
        ("build", "may not be built: is not a class"),
        ("Path", "may not be built: it is defined in pathlib, which is not trusted"),
        ("Other", "must be derived from torch.nn"),
        ("missing.Model", "missing: cannot be imported (ModuleNotFoundError: No module named"),
        ("broken.Model", "broken: cannot be imported (SyntaxError"),
        ("failing.Model", "failing.py, line 1: KeyError: 'here')"),
        ("exits.Model", "exits.py, line 2: SystemExit: 1)"),
        ("constructor.Model", "constructor.py, line 3: ZeroDivisionError: division by zero (BUA_TRACEBACK=1"),
        ("needs.Model", "needs.Model refuses its arguments: word_size is too small"),
    ],
)
def test_a_package_that_fails_ends_training_in_one_line(
    target: str, message: str, scenes, tmp_path, capfd, monkeypatch
) -> None:
    code = "from pathlib import Path\ndef build(**sizes): ...\nclass Other:\n    def __init__(self, **_): ..."
    model = "class Model:\n    def __init__(self, **_):\n        "
    modules = {
        "broken": "def (",
        "failing": "raise KeyError('here')",
        "exits": "import sys\nsys.exit(1)",
        "constructor": f"{model}1 / 0",
        "needs": f"{model}raise ValueError('word_size is too small')",
    }
    name = write_package(monkeypatch, tmp_path, CAPTIONER + code, **modules)
    words = own_training(scenes, tmp_path / "run", f"{name}.{target}", f"trust={name}")
    assert message in run_error(capfd, *words)
    assert not (tmp_path / "run").exists()


def test_a_package_that_fails_half_way_is_named_with_the_place(scenes, tmp_path, capfd, monkeypatch) -> None:
    code = (
        "\n    def predict(self, out, words):\n        return super().predict(out, words) / (len(out) - 61)\n"
    )
    code += "\n    def recur(self, *arguments):\n        self.calls = getattr(self, 'calls', 0) + 1\n"
    code += (
        "        if self.calls == 40: raise KeyError('half-way')\n        return super().recur(*arguments)\n"
    )
    name = write_package(monkeypatch, tmp_path, CAPTIONER.rstrip().removesuffix("pass") + code)
    words = own_training(
        scenes, tmp_path / "run", f"{name}.OwnCaptioner", f"trust={name}", "data.batch_size=4"
    )
    line = run_error(capfd, *words)
    assert f"{name} failed at {tmp_path}/{name}/__init__.py, line " in line
    assert line.endswith("KeyError: 'half-way' (BUA_TRACEBACK=1 shows the traceback)")
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["state"], status["error"]) == ("failed", "KeyError: 'half-way'")


def test_trust_in_a_package_does_not_extend_to_what_it_imports(monkeypatch, tmp_path) -> None:
    name = write_package(monkeypatch, tmp_path, "import subprocess, os\nfrom subprocess import Popen")
    for target in (f"{name}.Popen", f"{name}.subprocess.Popen", f"{name}.os.system"):
        with trusting([name]), pytest.raises(InputError):
            instantiate({"_target_": target, "args": ["false"]})
