"""Every configuration composes, its classes take its arguments, and commands declare all of its keys."""

import dataclasses
import importlib
import inspect
import subprocess
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from bua.cli.configurations import conf_folder
from bua.cli.main import COMMANDS, config_name
from bua.engine.instantiate import instantiate
from bua.engine.targets import ALLOWED
from bua.errors import InputError
from bua.tasks.self_critical import SelfCriticalTask
from tests.helpers.configurations import compose_config
from tests.helpers.parity import ROOT

CONF = ROOT / "conf"
PRIMARY = sorted(f.stem for f in CONF.glob("*.yaml") if f.stem != "command")
#: Groups with tests of their own.
OTHER_GROUPS = ("experiment", "exclude_classes")
EXPERIMENTS = sorted(f.stem for f in (CONF / "experiment").glob("*.yaml"))
#: Keys that options of groups add to the top level, such as the files of a data set.
GROUP_KEYS = {
    key
    for file in CONF.glob("*/*.yaml")
    if file.read_text().startswith("# @package _global_")
    for key in OmegaConf.load(file)
}
OPTIONS = sorted((f.parent.name, f.stem) for f in CONF.glob("*/*.yaml") if f.parent.name not in OTHER_GROUPS)


def target_nodes(config: Any) -> list[DictConfig]:
    """Return every node with a ``_target_``."""
    if not isinstance(config, DictConfig):
        return []
    below = [config._get_node(key) for key in config]
    found = [node for value in below for node in target_nodes(value)]
    return found + ([config] if "_target_" in config else [])


def check_targets(config: DictConfig) -> int:
    found = target_nodes(config)
    for node in found:
        target = node["_target_"]
        assert target.startswith(ALLOWED), target
        given = {str(k): None for k in node if k not in ("_target_", "_partial_")}
        inspect.signature(get_object(target)).bind_partial(**given)
        if target.startswith("bua.tasks."):
            assert given.keys() <= accepted_keywords(get_object(target)), target
    return len(found)


def accepted_keywords(target: Any) -> set[str]:
    """Return the keywords of a task and of its bases, as far as one passes on what it does not know."""
    names: set[str] = set()
    for base in target.__mro__:
        parameters = inspect.signature(base).parameters.values()
        names |= {p.name for p in parameters}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names


def test_a_keyword_that_no_base_accepts_is_detected() -> None:
    assert {"baseline", "decoder", "optimizer"} <= accepted_keywords(SelfCriticalTask)
    assert "sampling" not in accepted_keywords(SelfCriticalTask)


def test_the_lists_of_configurations_are_not_empty() -> None:
    assert len(PRIMARY) >= 10
    assert len(EXPERIMENTS) >= 5
    assert len(OPTIONS) >= 10


def test_every_command_has_a_configuration_and_every_configuration_a_command() -> None:
    assert set(PRIMARY) == set(map(config_name, COMMANDS))


@pytest.mark.parametrize("name", PRIMARY)
def test_options_of_a_command_are_the_keys_of_its_configuration(name: str) -> None:
    options = importlib.import_module(f"bua.cli.commands.{name}").Options
    fields = {field.name for field in dataclasses.fields(options)}
    keys = set(map(str, compose_config(name)))
    if name == "train":  # passes its whole configuration on
        assert fields - {"config"} <= keys | GROUP_KEYS
    else:
        assert fields <= keys | GROUP_KEYS
        assert keys - fields <= {"select", "vocabulary"}  # groups that the values of other keys contain


@pytest.mark.parametrize("name", PRIMARY)
def test_every_key_of_a_command_is_explained_in_its_configuration(name: str) -> None:
    lines = (CONF / f"{name}.yaml").read_text().splitlines()
    assert lines[0].startswith(f"# bua {next(c for c in COMMANDS if config_name(c) == name)}")


@pytest.mark.parametrize("name", PRIMARY)
def test_primary_configuration_composes_and_its_targets_take_their_arguments(name: str) -> None:
    check_targets(compose_config(name))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_composes_and_its_targets_take_their_arguments(name: str) -> None:
    assert check_targets(compose_config("train", f"experiment={name}")) >= 5


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_of_every_group_composes_with_its_command(group: str, option: str) -> None:
    primary = {"detector": "extract", "select": "extract", "decode": "predict"}.get(group, "train")
    assert check_targets(compose_config(primary, f"{group}={option}")) >= 1


@pytest.mark.parametrize(("name", "count"), [("none", 0), ("nocaps", 39)])
def test_excluded_classes_are_names_in_lower_case(name: str, count: int) -> None:
    excluded = compose_config("captions_constraints", f"exclude_classes={name}").exclude
    assert len(set(excluded)) == count
    assert all(entry == entry.lower().strip() for entry in excluded)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_prevails_over_the_defaults(name: str) -> None:
    own = OmegaConf.to_container(OmegaConf.load(CONF / "experiment" / f"{name}.yaml"), resolve=False)
    config = OmegaConf.to_container(compose_config("train", f"experiment={name}"), resolve=False)
    mine = {key: value for key, value in own.items() if key not in ("defaults", "scenes")}
    assert not list(overridden(mine, config))


def overridden(mine: Any, config: Any, key: str = "") -> Iterator[str]:
    """Yield the values of an experiment that the configuration does not have."""
    if isinstance(mine, dict) and isinstance(config, dict):
        for name, value in mine.items():
            yield from overridden(value, config.get(name, "nothing"), f"{key}.{name}")
    elif mine != config:
        yield f"{key} is {config}, not {mine}"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_starts_with_its_command_and_published_and_measured_numbers(name: str) -> None:
    head = (CONF / "experiment" / f"{name}.yaml").read_text()
    for word in (f"bua train experiment={name}", "Published", "Measured"):
        assert word in head


def test_command_line_prevails_over_the_experiment() -> None:
    config = compose_config("train", "experiment=caption_scenes", "trainer.max_epochs=77")
    assert config.trainer.max_epochs == 77


def test_instantiate_refuses_classes_that_are_not_allowed() -> None:
    for target in (
        "os.system",
        "torch.load",
        "builtins.eval",
        "subprocess.run",
        "buax.thing",
        "bua.engine.loading.torch.hub.load",
        "bua.io.files.write_text",
        "bua.io.files.Path",
        "bua.engine.loading.torch.load",
    ):
        with pytest.raises(InputError, match=f"{target} may not be built"):
            instantiate({"_target_": target})


def test_instantiate_refuses_nested_classes_and_those_in_lists() -> None:
    evil = {"_target_": "torch.optim.Adam", "_partial_": True, "x": [{"y": {"_target_": "os.system"}}]}
    with pytest.raises(InputError, match=r"x\[0\]\.y\._target_: os.system"):
        instantiate(evil)


@pytest.mark.parametrize(
    "config",
    [
        {"_target_": "pytorch_lightning.Trainer", "accelerator": "abacus"},
        {"_target_": "bua.models.attention.MeanPooling", "foo": 1},
    ],
)
def test_arguments_that_a_class_does_not_accept_are_reported_in_one_line(config) -> None:
    with pytest.raises(InputError, match=f"{config['_target_']} refuses its arguments"):
        instantiate(config)


def test_no_link_is_tracked_as_a_checkout_on_windows_has_none() -> None:
    done = subprocess.run(["git", "ls-files", "-s"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a checkout")
    assert len(done.stdout.splitlines()) > 300
    assert [line for line in done.stdout.splitlines() if line.startswith("120000")] == []


def test_the_configurations_are_a_module_in_a_checkout() -> None:
    import bua.conf

    assert resources.files(bua.conf) == conf_folder() == CONF
