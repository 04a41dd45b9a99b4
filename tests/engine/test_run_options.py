"""A run records absolute paths; what differs when it is used again is named, with a way out."""

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from bua.engine import train
from bua.engine.prediction import EnsembleRuns
from bua.engine.run_data import ImageSelection, run_questions, select_stored_images
from bua.engine.run_options import PATH_KEYS, changed_options, with_absolute_paths
from bua.errors import InputError
from tests.helpers.configurations import compose_config
from tests.helpers.parity import ROOT

SMALL = ["trainer.max_epochs=1", "data.num_workers=0", "scheduler=constant"]
CAPTIONER = [
    "experiment=caption_scenes",
    "model.hidden_size=8",
    "model.word_size=8",
    "model.attention_size=8",
]
VQA = ["experiment=vqa_scenes", "model.hidden_size=8", "model.word_size=8"]


@pytest.fixture(scope="module")
def runs(scenes, tmp_path_factory) -> Path:
    """A captioner and a VQA model that were trained with relative paths, in the folder above the scenes."""
    folder = tmp_path_factory.mktemp("runs")
    data = folder / "scenes"
    data.symlink_to(scenes)
    here = Path.cwd()
    os.chdir(folder)
    try:
        for name, words in {"captioner": CAPTIONER, "vqa": VQA}.items():
            train(compose_config("train", *words, *SMALL, "scenes=scenes", f"out={name}"))
    finally:
        os.chdir(here)
    return folder


def test_paths_of_a_run_are_absolute(runs) -> None:
    data = yaml.safe_load((runs / "captioner/config.yaml").read_text())["data"]
    assert data["features"] == str(runs / "scenes/regions.h5")
    assert data["train"]["file"] == str(runs / "scenes/captions_train.json")
    assert data["train"]["ids"] is None
    assert data["vocabulary"]["tokenizer"] == "karpathy"
    questions = yaml.safe_load((runs / "vqa/config.yaml").read_text())["data"]["train"]["questions"]
    assert questions == str(runs / "scenes/questions_train.json")


def test_every_key_of_a_file_in_the_data_groups_is_made_absolute() -> None:
    """Keys whose comment or name speaks of a file, or that refer to a key on top that does."""
    found = set()
    for name in ("captions", "vqa", "detection"):
        data = yaml.safe_load((ROOT / f"conf/data/{name}.yaml").read_text())["data"]
        for key, value in flatten(data, "data."):
            named = key.rsplit(".", 1)[-1] in (
                "file",
                "extra_files",
                "extra_words",
                "pairs",
                "questions",
                "images",
            )
            refers = isinstance(value, str) and value.startswith("${") and value != "${seed}"
            found |= {key} if named or refers else set()
    assert len(found) > 15
    assert found <= set(PATH_KEYS)


def flatten(node, prefix):
    for key, value in node.items():
        yield from (
            flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
        )


def test_lists_of_paths_and_missing_values_are_kept_in_form(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    config = {
        "data": {"train": {"questions": ["a", "/b"], "annotations": None}, "val": "./x/../c.json"},
        "seed": 1,
    }
    assert with_absolute_paths(config) == {
        "data": {
            "train": {"questions": [f"{tmp_path}/a", "/b"], "annotations": None},
            "val": f"{tmp_path}/x/../c.json",
        },
        "seed": 1,
    }
    assert config["data"]["val"] == "./x/../c.json"


def test_a_run_finds_its_files_from_another_folder(runs, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    ensemble, [store] = EnsembleRuns([str(runs / "captioner")]).open()
    assert store.path == runs / "scenes/regions.h5"
    assert len(select_stored_images(ImageSelection(split="val"), str(runs / "captioner"), store)) == 8
    assert run_questions(runs / "vqa", "val") == [str(runs / "scenes/questions_val.json")]
    assert ensemble.first.source == str(runs / "captioner")


def moved(run: Path, folder: Path, old: str, new: str) -> Path:
    """Copy a run, and replace a path that it recorded."""
    copy = Path(shutil.copytree(run, folder / "run"))
    config = (copy / "config.yaml").read_text()
    assert old in config
    (copy / "config.yaml").write_text(config.replace(old, new))
    return copy


def test_a_recorded_file_that_is_gone_is_named_with_the_option_that_replaces_it(runs, tmp_path) -> None:
    store_path = f"{runs}/scenes/regions.h5"
    run = moved(runs / "captioner", tmp_path / "a", store_path, "/nowhere/f.h5")
    with pytest.raises(InputError) as error:
        EnsembleRuns([str(run)]).open()
    expected = f"/nowhere/f.h5: does not exist; {run} recorded it as data.features; give features=FILE if it "
    assert str(error.value) == f"{expected}has moved"
    _, [store] = EnsembleRuns([str(run)], features=store_path).open()

    run = moved(runs / "captioner", tmp_path / "b", f"{runs}/scenes/captions_val.json", "data/val.json")
    relative = "relative to the folder of its training; give images=FILE"
    reason = f"data/val.json: does not exist; .* as data.val.file, {relative}"
    with pytest.raises(InputError, match=reason):
        select_stored_images(ImageSelection(split="val"), str(run), store)

    run = moved(runs / "vqa", tmp_path / "c", f"{runs}/scenes/questions_val.json", "/nowhere/q.json")
    with pytest.raises(InputError, match=r"/nowhere/q.json: .* as data.val.questions; give questions=FILE"):
        run_questions(run, "val")


def test_a_run_resumes_with_other_names_of_the_same_files(runs, tmp_path, monkeypatch) -> None:
    run = shutil.copytree(runs / "captioner", tmp_path / "run")
    monkeypatch.chdir(runs)
    words = [*CAPTIONER, *SMALL, f"out={run}", "resume=true", "trainer.max_epochs=2"]
    train(compose_config("train", *words, "scenes=./scenes", f"captions={runs}/scenes/captions_train.json"))
    assert len((run / "metrics.csv").read_text().splitlines()) == 1 + 2


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (
            "captions={scenes}/captions_val.json",
            "data.train.file .*captions_train.json, not .*captions_val.json",
        ),
        ("optimizer.lr=0.5", r"optimizer.lr differs from that of the run \([\d.e-]+, not 0.5\)"),
        ("optimizer=adamw", r"optimizer differs from that of the run \(.*Adam, not .*AdamW\)"),
        ("seed=3", r"seed differs from that of the run \(0, not 3\)"),
        ("data.max_length=5", r"data.max_length differs from that of the run \(16, not 5\)"),
        ("data.geometry=null", r"data.geometry differs from that of the run \(20.0, not null\)"),
        ("data.geometry=2", r"data.geometry differs from that of the run \(20.0, not 2\)"),
        ("model.hidden_size=16", r"model.hidden_size differs from that of the run \(8, not 16\)"),
    ],
)
def test_an_option_that_differs_is_named_with_both_values(
    runs, scenes, monkeypatch, change, difference
) -> None:
    monkeypatch.chdir(runs)
    words = [
        *CAPTIONER,
        *SMALL,
        "scenes=scenes",
        "out=captioner",
        "resume=true",
        change.format(scenes=scenes),
    ]
    with pytest.raises(InputError, match=f"^captioner: {difference}.*; resume with the same options$"):
        train(compose_config("train", *words))


def test_the_number_of_workers_and_of_epochs_may_change(runs, monkeypatch) -> None:
    former = yaml.safe_load((runs / "captioner/config.yaml").read_text())
    given = {**former, "data": {**former["data"], "num_workers": 7}}
    given["trainer"] = {**former["trainer"], "max_epochs": 9}
    assert list(changed_options(former, given)) == []


@pytest.mark.parametrize(
    ("name", "words", "changes"),
    [
        ("captioner", CAPTIONER, ["data.vocabulary.min_count=9", "data.geometry=3"]),
        ("vqa", VQA, ["data.questions.min_count=9", "data.answers.min_count=5"]),
    ],
)
def test_following_the_advice_a_run_of_other_words_initializes_a_model(
    runs, scenes, tmp_path, name, words, changes
) -> None:
    command = [*words, *SMALL, f"scenes={scenes}", f"out={tmp_path}/new", f"init_from={runs}/{name}"]
    with pytest.raises(
        InputError, match=rf"{name}: its vocabulary is not that of these data \(words: "
    ) as error:
        train(compose_config("train", *command, *changes))
    [advice] = re.findall(r"; give (data\..*)$", str(error.value))
    assert len(shlex.split(advice)) == 2
    train(compose_config("train", *command, *changes, *shlex.split(advice)))
    before, after = ((folder / "vocabulary.json").read_text() for folder in (runs / name, tmp_path / "new"))
    assert before == after
