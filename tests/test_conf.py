"""Every configuration composes, and everything it names is there and takes its arguments."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from bua.cli.main import COMMANDS
from bua.engine.instantiate import ALLOWED, instantiate
from bua.errors import InputError
from bua.tasks.self_critical import SelfCriticalTask
from tests.helpers.configurations import composed
from tests.helpers.parity import ROOT

CONF = ROOT / "conf"
PRIMARY = sorted(f.stem for f in CONF.glob("*.yaml") if f.stem != "command")
#: Groups with tests of their own.
APART = ("experiment", "leave_out")
EXPERIMENTS = sorted(f.stem for f in (CONF / "experiment").glob("*.yaml"))
OPTIONS = sorted((f.parent.name, f.stem) for f in CONF.glob("*/*.yaml") if f.parent.name not in APART)


def nodes(config: Any) -> list[DictConfig]:
    """Return every node with a ``_target_``."""
    if not isinstance(config, DictConfig):
        return []
    below = [config._get_node(key) for key in config]
    found = [node for value in below for node in nodes(value)]
    return found + ([config] if "_target_" in config else [])


def check_targets(config: DictConfig) -> int:
    found = nodes(config)
    for node in found:
        target = node["_target_"]
        assert target.startswith(ALLOWED), target
        given = {str(k): None for k in node if k not in ("_target_", "_partial_")}
        inspect.signature(get_object(target)).bind_partial(**given)
        if target.startswith("bua.tasks."):
            assert given.keys() <= taken(get_object(target)), target
    return len(found)


def taken(target: Any) -> set[str]:
    """Return the keywords of a task and of its bases, as far as one hands on what it does not know."""
    names: set[str] = set()
    for base in target.__mro__:
        parameters = inspect.signature(base).parameters.values()
        names |= {p.name for p in parameters}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names


def test_a_keyword_that_no_base_takes_is_found() -> None:
    assert {"baseline", "decoder", "optimizer"} <= taken(SelfCriticalTask)
    assert "sampling" not in taken(SelfCriticalTask)


def test_there_are_configurations() -> None:
    assert len(PRIMARY) >= 10
    assert len(EXPERIMENTS) >= 5
    assert len(OPTIONS) >= 10


def test_every_command_has_a_configuration_and_the_other_way_round() -> None:
    assert set(PRIMARY) == set(COMMANDS)


@pytest.mark.parametrize("name", PRIMARY)
def test_primary_configuration_composes_and_its_targets_take_their_arguments(name: str) -> None:
    check_targets(composed(name))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_composes_and_its_targets_take_their_arguments(name: str) -> None:
    assert check_targets(composed("train", f"experiment={name}")) >= 5


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_of_every_group_is_of_use_somewhere(group: str, option: str) -> None:
    primary = {"detector": "extract", "select": "extract", "decode": "predict"}.get(group, "train")
    assert check_targets(composed(primary, f"{group}={option}")) >= 1


@pytest.mark.parametrize(("name", "count"), [("nothing", 0), ("nocaps", 39)])
def test_classes_that_are_left_out_are_names_in_lower_case(name: str, count: int) -> None:
    without = composed("captions_constraints", f"exclude_classes={name}").without
    assert len(set(without)) == count
    assert all(entry == entry.lower().strip() for entry in without)
    assert list(composed("captions_constraints", "without=[arm]").without) == ["arm"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_has_the_last_word(name: str) -> None:
    own = OmegaConf.to_container(OmegaConf.load(CONF / "experiment" / f"{name}.yaml"), resolve=False)
    config = OmegaConf.to_container(composed("train", f"experiment={name}"), resolve=False)
    mine = {key: value for key, value in own.items() if key not in ("defaults", "scenes")}
    assert not list(undone(mine, config))


def undone(mine: Any, config: Any, key: str = "") -> Iterator[str]:
    """Yield what an experiment decided and the configuration has otherwise."""
    if isinstance(mine, dict) and isinstance(config, dict):
        for name, value in mine.items():
            yield from undone(value, config.get(name, "nothing"), f"{key}.{name}")
    elif mine != config:
        yield f"{key} is {config}, not {mine}"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_opens_with_what_command_published_and_measured(name: str) -> None:
    head = (CONF / "experiment" / f"{name}.yaml").read_text()
    for word in (f"bua train experiment={name}", "Published", "Measured"):
        assert word in head


def test_command_line_beats_experiment() -> None:
    assert composed("train", "experiment=caption_scenes", "trainer.max_epochs=77").trainer.max_epochs == 77


def test_build_refuses_what_is_not_on_the_list() -> None:
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


def test_build_refuses_deep_inside_and_in_lists() -> None:
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
def test_arguments_that_a_class_refuses_are_a_mistake_of_one_line(config) -> None:
    with pytest.raises(InputError, match=f"{config['_target_']} does not take what it was given"):
        instantiate(config)


def test_link_to_the_configurations_is_tracked_as_a_link() -> None:
    link = ROOT / "bua" / "conf"
    assert link.is_symlink()
    assert Path(link.readlink()) == Path("../conf")
