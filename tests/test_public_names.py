"""Public names: checkpoints and stores survive that a class is moved or renamed."""

import importlib
import re

import pytest
from omegaconf import OmegaConf

from bua.errors import InputError
from bua.public_names import MODULES, RENAMED, to_public, to_targets
from tests.helpers.parity import ROOT

#: Groups whose classes are recorded in checkpoints and stores.
RECORDED = ("model", "objective", "decode", "detector", "select", "data", "scheduler", "optimizer")
TARGET = re.compile(r"_target_: (bua\.[\w.]+)")


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_public_name_is_a_class_of_its_module(name: str) -> None:
    assert isinstance(getattr(importlib.import_module(MODULES[name]), name), type)


@pytest.mark.parametrize(("old", "new"), sorted(RENAMED.items()))
def test_former_names_lead_to_names_of_today(old: str, new: str) -> None:
    assert old not in MODULES
    assert new in MODULES


def test_every_class_that_a_recorded_configuration_names_has_a_public_name() -> None:
    files = [file for group in RECORDED for file in (ROOT / "conf" / group).glob("*.yaml")]
    targets = {target for file in files for target in TARGET.findall(file.read_text())}
    assert len(targets) > 20
    assert {target.rpartition(".")[2] for target in targets} <= set(MODULES)
    assert {to_targets(to_public({"_target_": target}))["_target_"] for target in targets} == targets


def test_experiments_name_no_class_without_a_public_name() -> None:
    texts = [file.read_text() for file in (ROOT / "conf" / "experiment").glob("*.yaml")]
    targets = {target for text in texts for target in TARGET.findall(text)}
    assert {target.rpartition(".")[2] for target in targets} <= set(MODULES)


def test_paths_of_an_early_version_lead_to_the_classes_of_today() -> None:
    early = {
        "_target_": "bua.models.captioners.updown.UpDownCaptioner",
        "attention": {"_target_": "bua.models.attention.ConcatAttention", "hidden_size": 512},
        "losses": [{"_target_": "bua.tasks.captioning.CrossEntropy"}],
    }
    public = to_public(early)
    assert public["class"] == "UpDownCaptioner"
    assert public["attention"] == {"class": "ConcatAttention", "hidden_size": 512}
    assert public["losses"] == [{"class": "CaptionCrossEntropyTask"}]
    assert to_targets(public)["losses"] == [{"_target_": "bua.tasks.captioning.CaptionCrossEntropyTask"}]
    assert to_targets(early) == to_targets(public)


def test_a_class_that_moves_refuses_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    written = to_public({"_target_": "bua.models.attention.MeanPooling"})
    monkeypatch.setitem(MODULES, "MeanPooling", "bua.models.elsewhere")
    assert to_targets(written) == {"_target_": "bua.models.elsewhere.MeanPooling"}
    assert to_public(to_targets(written)) == written


def test_a_class_that_is_renamed_refuses_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    written = to_public({"_target_": "bua.models.attention.MeanPooling", "size": 3})
    monkeypatch.setitem(MODULES, "AveragePooling", MODULES["MeanPooling"])
    monkeypatch.delitem(MODULES, "MeanPooling")
    monkeypatch.setitem(RENAMED, "MeanPooling", "AveragePooling")
    assert to_targets(written) == {"_target_": "bua.models.attention.AveragePooling", "size": 3}


def test_classes_of_other_packages_keep_their_paths() -> None:
    config = {"_target_": "torch.optim.Adam", "lr": 0.1}
    assert to_public(config) == {"class": "torch.optim.Adam", "lr": 0.1}
    assert to_targets(to_public(config)) == config


def test_public_names_are_unique_among_all_classes_of_the_package() -> None:
    """A path of an earlier version is recognized by its last part alone."""
    files = (ROOT / "bua").rglob("*.py")
    classes = [name for file in files for name in re.findall(r"(?m)^class (\w+)", file.read_text())]
    assert {name: classes.count(name) for name in MODULES} == dict.fromkeys(MODULES, 1)


def test_other_values_under_the_key_of_a_class_stay_as_they_are() -> None:
    for value in (3, ["cat", "dog"], None, {"x": 1}):
        assert to_public({"names": {"class": value}}) == {"names": {"class": value}}


def test_an_unknown_public_name_is_reported() -> None:
    with pytest.raises(InputError, match="class 'Oracle' does not exist"):
        to_targets({"model": {"class": "Oracle"}})


def test_no_recorded_configuration_holds_a_python_path() -> None:
    for group in RECORDED:
        for file in (ROOT / "conf" / group).glob("*.yaml"):
            config = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
            assert "_target_" not in str(to_public(config)), file
            assert "bua." not in str(to_public(config)), file
