"""The keys that help and completion know are those that Hydra composes, with their defaults and comments."""

import pytest
import yaml
from omegaconf import OmegaConf

from bua.cli.configurations import Key, compose_keys, conf_folder, walk
from bua.cli.docstrings import argument_comments
from bua.cli.help import command_help
from bua.cli.main import COMMANDS, config_name
from bua.errors import InputError
from bua.evaluation.submission import SERVER_FORMATS
from bua.metrics.vqa import RULES
from bua.store.formats import FORMATS
from bua.store.formats.image_ids import ID_RULES
from bua.store.formats.source import BACKGROUND_POSITIONS
from bua.text.answers import SOFT_SCORES
from tests.helpers.configurations import compose_config

PRIMARY = {"detector": "extract", "select": "extract", "decode": "predict"}
PRIMARY["exclude_classes"] = "captions_constraints"
COMPOSED = [(config_name(command), ()) for command in COMMANDS] + [
    (PRIMARY.get(file.parent.name, "train"), (f"{file.parent.name}={file.stem}",))
    for file in sorted(conf_folder().glob("*/*.yaml"))
]


def leaves(config, path="") -> dict[str, object]:
    """Return every value of a configuration by its dotted key, except for what is built from it."""
    if not isinstance(config, dict) or not config:
        return {path: config}
    below = {k: v for k, v in config.items() if k not in ("_target_", "_partial_")}
    return {
        k: v for name, value in below.items() for k, v in leaves(value, f"{path}.{name}".strip(".")).items()
    }


def test_every_command_and_option_is_compared() -> None:
    assert len(COMPOSED) > 100


@pytest.mark.parametrize(("name", "words"), COMPOSED, ids=str)
def test_keys_and_defaults_are_those_of_hydra(name: str, words: tuple[str, ...]) -> None:
    expected = leaves(OmegaConf.to_container(compose_config(name, *words), resolve=False))
    found = {path: key.value for path, key in walk(compose_keys(name, words).keys) if key.value}
    expected.pop("", None)
    assert found.keys() == expected.keys()
    for path, value in expected.items():
        if isinstance(value, int | float | None):
            assert yaml.safe_load(found[path]) == pytest.approx(value) or float(found[path]) == value, path
        elif isinstance(value, str):
            assert found[path] == (value or "''"), path


@pytest.mark.parametrize(("name", "words"), COMPOSED, ids=str)
def test_every_key_that_the_help_shows_is_explained(name: str, words: tuple[str, ...]) -> None:
    def unexplained(keys: dict[str, Key], target: str, above: str, path: str) -> list[str]:
        comments = argument_comments(target) if target else {}
        missing = []
        for key, value in keys.items():
            comment = value.comment or comments.get(key, "") or above
            if value.below:
                missing += unexplained(value.below, value.target, comment, f"{path}{key}.")
            elif value.value and not comment:
                missing.append(f"{path}{key}")
        return missing

    assert unexplained(compose_keys(name, words).keys, "", "", "") == []


def test_choices_in_comments_are_those_of_the_code() -> None:
    def choices(name: str, key: str, *words: str) -> set[str]:
        return set(compose_keys(name, words).find(key).choices)

    assert choices("features_import", "format") == set(FORMATS)
    assert choices("features_export", "format") == set(FORMATS)
    assert choices("features_import", "id_type") == set(ID_RULES)
    assert choices("features_import", "background") == set(BACKGROUND_POSITIONS)
    assert choices("score", "rule") == set(RULES)
    assert choices("score", "task") == choices("submit", "task") == set(SERVER_FORMATS)
    assert choices("train", "data.answers.soft_scores", "data=vqa") == set(SOFT_SCORES)
    assert choices("train", "compile") == {"true", "false"}


def test_the_last_override_of_an_experiment_and_the_words_prevail() -> None:
    assert compose_keys("train", ["experiment=updown_nocaps_cbs_xe"]).groups["data"] == "captions"
    assert compose_keys("train", ["experiment=vqa_mcan", "model=ban"]).groups["model"] == "ban"
    assert compose_keys("train", ["+decode=beam"]).find("decode.beam_size").value == "5"


def test_a_list_of_options_of_a_group_has_the_keys_of_all_of_them() -> None:
    both = compose_keys("train", ["logger=[csv,wandb]"])
    assert both.find("logger.wandb.project").value == "bua"
    assert both.groups["logger"] == "[csv,wandb]"
    with pytest.raises(InputError, match=r"there is no logger=wand; did you mean 'wandb'"):
        compose_keys("train", ["logger=[csv,wand]"])


def test_folders_of_ones_own_are_searched(tmp_path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("_target_: mine.Model\nsize: 3 # of mine\n")
    composed = compose_keys("train", ["model=mine"], [tmp_path])
    assert composed.find("model.size") == Key("3", "of mine")
    assert "mine" in composed.options("model")
    (tmp_path / "model" / "mine.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"mine.yaml: is not YAML"):
        compose_keys("train", ["model=mine"], [tmp_path])


def test_help_shows_usage_examples_keys_groups_and_metrics() -> None:
    text = command_help("train", COMMANDS["train"], ["experiment=caption_scenes"])
    for part in (
        "usage: bua train experiment=NAME",
        "examples:",
        "experiment=caption_scenes  ",
        "scenes=???",
        "folder written by bua scenes",
        "data.batch_size=20",
        "keys of model=updown_small",
        "objective=vqa",
        "val/accuracy",
        "-m, --multirun",
    ):
        assert part in text, part
    assert max(map(len, text.splitlines())) <= 200
