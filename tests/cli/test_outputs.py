"""``out=`` and ``n_best=`` mean the same in every command, and what was written is said."""

import json
from pathlib import Path

import pytest

from bua.cli.configurations import compose_keys
from bua.cli.main import COMMANDS, config_name
from bua.data.predictions import read_predictions
from tests.helpers.commands import run_error, run_ok

#: Keys of several commands that do not depend on what a command does.
SHARED = {"root", "device", "precision", "channels_last", "allow_other_features", "json", "weights"}
SHARED |= {"stretch_gray", "dtype", "attributes", "predictions"}
SMALL = ["trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.accelerator=cpu"]


@pytest.fixture(scope="module")
def runs(scenes, tmp_path_factory) -> dict[str, Path]:
    """Runs of a captioner and a VQA model on random regions, trained for one step."""
    out = tmp_path_factory.mktemp("runs")
    for name in ("caption", "vqa"):
        words = [f"scenes={scenes}", f"out={out / name}", "model.word_size=8", "model.hidden_size=12", *SMALL]
        run_ok("train", f"experiment={name}_scenes", *words)
    return {name: out / name for name in ("caption", "vqa")}


def commands(scenes: Path, runs: dict[str, Path]) -> dict[str, list[str]]:
    """Return a command for each kind of output, without ``out=``."""
    image = sorted((scenes / "images").iterdir())[0]
    store, random = f"{scenes}/regions.h5", ["allow_other_features=true"]
    truth = f"{scenes}/captions_test.json"
    ids = [image["id"] for image in json.loads(Path(truth).read_text())["images"]]
    (scenes / "p.json").write_text(json.dumps([{"image_id": n, "caption": "a"} for n in ids]))
    return {
        "predict": ["predict", f"run={runs['caption']}", "split=val", "n_best=2"],
        "caption": ["caption", f"run={runs['caption']}", f"images={image}", "n_best=2", *random],
        "ask": ["ask", f"run={runs['vqa']}", f"images={image}", "question=what is it?", *random],
        "score": ["score", "task=caption", f"predictions={scenes}/p.json", f"references={truth}"]
        + ["metrics=[cider]", "tokenizer=python"],
        "submit": ["submit", "task=caption", f"predictions={scenes}/p.json", f"images={truth}"],
        "export": ["features", "export", "format=pa_tsv", f"file={store}"],
        "extract": ["extract", f"images={image}", "detector=random"],
    }


NAMES = ["predict", "caption", "ask", "score", "submit", "export", "extract"]


@pytest.mark.parametrize("name", NAMES)
def test_out_is_the_file_whose_folder_is_made_and_whose_name_is_printed(
    name: str, scenes, runs, tmp_path, capfd
) -> None:
    out = tmp_path / "new" / "deep" / "out.json"
    run_ok(*commands(scenes, runs)[name], f"out={out}")
    assert out.is_file()
    printed = capfd.readouterr().out
    assert len([line for line in printed.splitlines() if line.startswith(f"{out}: ")]) == 1, printed
    assert [path.name for path in out.parent.iterdir() if path.suffix == ".partial"] == []


@pytest.mark.parametrize("name", [name for name in NAMES if name != "submit"])
def test_out_that_is_a_folder_is_refused_before_anything_is_done(
    name: str, scenes, runs, tmp_path, capfd
) -> None:
    capfd.readouterr()
    line = run_error(capfd, *commands(scenes, runs)[name], f"out={tmp_path}")
    assert f"{tmp_path}: " in line
    assert list(tmp_path.iterdir()) == []


def test_n_best_lists_candidates_in_every_command_and_the_file_is_a_result_file(
    scenes, runs, tmp_path
) -> None:
    for name in ("predict", "caption"):
        run_ok(*commands(scenes, runs)[name], f"out={tmp_path}/{name}.json")
        [first, *_] = json.loads((tmp_path / f"{name}.json").read_text())
        assert [set(candidate) for candidate in first["candidates"]] == [{"caption", "log_prob"}] * 2
        assert read_predictions(f"{tmp_path}/{name}.json", "image_id", "caption")
    run_ok(*commands(scenes, runs)["ask"], f"out={tmp_path}/ask.json", "n_best=3")
    [answer] = json.loads((tmp_path / "ask.json").read_text())
    assert [set(candidate) for candidate in answer["candidates"]] == [{"answer", "score"}] * 3
    run_ok(*commands(scenes, runs)["ask"], f"out={tmp_path}/one.json", "n_best=1")
    assert "candidates" not in json.loads((tmp_path / "one.json").read_text())[0]


@pytest.mark.parametrize("name", ["predict", "caption"])
def test_more_captions_than_the_search_finds_are_refused(name: str, scenes, runs, tmp_path, capfd) -> None:
    capfd.readouterr()
    words = [*commands(scenes, runs)[name][:-1], "n_best=6", f"out={tmp_path}/o.json"]
    words += ["allow_other_features=true"]
    assert "n_best=6: the search returns at most 5 captions; give a larger decode.beam_size" in run_error(
        capfd, *words
    )


def test_only_json_is_on_the_standard_output_if_it_is_asked_for(scenes, runs, tmp_path, capfd) -> None:
    capfd.readouterr()
    run_ok(
        *commands(scenes, runs)["caption"], "json=true", f"out={tmp_path}/c.json", f"html={tmp_path}/c.html"
    )
    printed = capfd.readouterr()
    assert json.loads(printed.out) == json.loads((tmp_path / "c.json").read_text())
    assert f"{tmp_path}/c.json: 1 captions\n" in printed.err
    assert f"{tmp_path}/c.html: 1 images\n" in printed.err


def test_words_that_the_model_does_not_know_are_said(scenes, runs, capfd) -> None:
    capfd.readouterr()
    words = commands(scenes, runs)["ask"]
    words[3] = "question=is there a Zebra or a zebra?"
    run_ok(*words)
    assert "bua ask: the model does not know the words 'zebra'" in capfd.readouterr().err


def test_photographs_are_said_to_be_no_scenes(scenes, tmp_path, capfd) -> None:
    from PIL import Image

    Image.new("RGB", (300, 200)).save(tmp_path / "photo.jpg")
    for words in (["detect", f"out={tmp_path}/d"], ["extract", f"out={tmp_path}/f.h5"]):
        run_ok(*words, f"images={tmp_path}/photo.jpg")
        assert f"bua {words[0]}: photo.jpg is not a synthetic scene" in capfd.readouterr().err
        run_ok(words[0], f"{words[1]}2", f"images={sorted((scenes / 'images').iterdir())[0]}")
        assert capfd.readouterr().err == ""


def test_a_key_is_explained_in_the_same_words_in_every_command() -> None:
    comments: dict[str, list[str]] = {}
    for command in COMMANDS:
        for name, key in compose_keys(config_name(command)).keys.items():
            comments.setdefault(name, []).append(key.comment)
    assert {name for name in SHARED if len(comments[name]) < 2} == set()
    assert {name: texts for name in SHARED if len(set(texts := comments[name])) > 1} == {}
