"""A mistake of the user is reported in one line on stderr, with exit code 2."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from bua.cli.main import COMMANDS, main
from bua.engine.loading import describe_difference
from bua.errors import InputError
from tests.helpers.commands import run_error, run_ok


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "there is no command 'fly'"),
        (["extract", "imagse=x", "out=y"], "no key 'imagse'; did you mean 'images'?"),
        (["extract", "out=y"], "images must be given: images=..."),
        (["extract", "images=/nowhere", "out=y"], "/nowhere: file or folder does not exist"),
        (
            ["extract", "images=.", "out=y", "detector=yolo"],
            "there is no detector=yolo; the options are fpn_mobilenet, fpn_r50",
        ),
        (
            ["extract", "images=.", "out=y", "select=all"],
            "there is no select=all; the options are adaptive, argmax",
        ),
        (["extract", "images=.", "out=y", "dtype=int8"], "dtype=int8: must be float16 or float32"),
        (["train", "experiment=best"], "there is no experiment=best; the options are"),
        (["train", "experiment=caption_scenes", "model.hiden_size=3"], "did you mean 'model.hidden_size'?"),
        (["train", "scheduler=null"], "scheduler=null: a group takes the name of one of its options"),
        (["train", "model=5"], "model=5: a group takes the name of one of its options"),
        (["train", "experiment=caption_scenes"], "scenes must be given: scenes=..."),
        (["predict", "run=/nowhere", "out=p.json"], "/nowhere: does not exist; must be a run directory"),
        (["caption", "run=/nowhere", "images=x.jpg"], "/nowhere: does not exist; must be a run"),
        (["ask", "run=/nowhere", "images=x.jpg"], "question must be given: question=..."),
        (["extract", "images=.", "out=y", "batch_size=0"], "batch_size=0: must be an integer of at least 1"),
        (
            ["extract", "images=.", "out=y", "num_workers=-1"],
            "num_workers=-1: must be an integer of at least 0",
        ),
        (["extract", "images=.", "out=y", "device=gpu"], "device=gpu: "),
        (
            ["caption", "run=r", "images=x.jpg", "decode.beam_size=two"],
            "beam_size must be an integer of at least 1, got two",
        ),
        (["extract", "images=photo (1).jpg", "out=y"], "photo (1).jpg: file or folder does not exist"),
        (["scenes", "out=s", "train=-2"], "train=-2: must be an integer of at least 0"),
        (["quickstart", "out=q", "val=0"], "train, val and test must each be at least 1"),
        (["score", "task=poem", "predictions=p"], "task=poem: must be caption or vqa"),
        (
            ["score", "task=caption", "predictions=/p.json", "references=/r.json"],
            "/p.json: file does not exist",
        ),
        (["features", "info", "file=/f.h5"], "/f.h5: file does not exist"),
        (["features", "check", "file=/f.h5"], "/f.h5: file does not exist"),
        (
            ["export-detector", "run=/nowhere", "out=w", "instances=i", "images=j"],
            "/nowhere: does not exist",
        ),
    ],
)
def test_mistakes_are_reported_in_one_line(arguments, message, capfd, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "000000000001.jpg").write_bytes(b"")
    assert message in run_error(capfd, *arguments)


PREDICTIONS = {
    "an object": ({"image_id": 1}, "a JSON list of"),
    "an entry without caption": ([{"image_id": 1}], "entry[0] (image 1): has no caption"),
    "a caption that is a number": ([{"image_id": 1, "caption": 3}], "entry[0]"),
    "a duplicate id": ([{"image_id": 1, "caption": "a"}] * 2, "image_id 1 is duplicated"),
    "an unknown id": ([{"image_id": 9, "caption": "a"}], "image 9 is not in"),
    "no predictions": ([], "holds no predictions"),
}


@pytest.mark.parametrize("name", sorted(PREDICTIONS))
def test_invalid_predictions_are_reported_with_their_file(name: str, capfd, tmp_path) -> None:
    content, message = PREDICTIONS[name]
    (tmp_path / "p.json").write_text(json.dumps(content))
    references = {
        "images": [{"id": 1, "file_name": "x"}, {"id": 2, "file_name": "y"}],
        "annotations": [{"id": n, "image_id": n, "caption": "a cat"} for n in (1, 2)],
    }
    (tmp_path / "r.json").write_text(json.dumps(references))
    line = run_error(
        capfd,
        "score",
        "task=caption",
        f"predictions={tmp_path}/p.json",
        f"references={tmp_path}/r.json",
        "tokenizer=python",
        "metrics=[cider]",
    )
    assert message in line
    assert "p.json" in line


@pytest.fixture(scope="module")
def run(scenes, tmp_path_factory) -> Path:
    """Return the run of a captioner that was trained for one epoch."""
    out = tmp_path_factory.mktemp("run") / "captioner"
    run_ok("train", "experiment=caption_scenes", f"scenes={scenes}", f"out={out}", "trainer.max_epochs=1")
    return out


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "pickle", "other"])
def test_damaged_checkpoints_are_reported_and_their_code_is_not_executed(
    damage: str, run, capfd, tmp_path
) -> None:
    capfd.readouterr()
    path, witness = tmp_path / "c.ckpt", tmp_path / "witness"
    content = (run / "checkpoints/best.ckpt").read_bytes()
    if damage == "pickle":

        class Malicious:
            def __reduce__(self):
                return (os.system, (f"touch {witness}",))

        torch.save({"bua": Malicious(), "state_dict": {}}, path)
    elif damage == "other":
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"hello"}[damage])
    assert "c.ckpt: " in run_error(capfd, "caption", f"run={path}", "images=x.jpg")
    assert not witness.exists()


def test_a_checkpoint_cannot_build_classes_of_other_libraries(run, capfd, tmp_path) -> None:
    capfd.readouterr()
    content = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    content["bua"]["model"] = {"_target_": "os.system", "command": f"touch {tmp_path}/witness"}
    torch.save(content, tmp_path / "c.ckpt")
    assert "os.system may not be built" in run_error(
        capfd, "caption", f"run={tmp_path}/c.ckpt", "images=x.jpg"
    )
    assert not (tmp_path / "witness").exists()


def test_features_of_another_detector_are_rejected(run, scenes, capfd, tmp_path) -> None:
    capfd.readouterr()
    detector = ["detector=random", "detector.feature_size=12"]
    run_ok("extract", f"images={scenes}/images", f"out={tmp_path}/o.h5", *detector)
    capfd.readouterr()
    line = run_error(capfd, "predict", f"run={run}", f"features={tmp_path}/o.h5", f"out={tmp_path}/p.json")
    assert "features of a different detector" in line
    assert "allow_other_features=true" in line
    assert not (tmp_path / "p.json").exists()


def test_a_run_is_not_overwritten(run, scenes, capfd) -> None:
    capfd.readouterr()
    line = run_error(capfd, "train", "experiment=caption_scenes", f"scenes={scenes}", f"out={run}")
    assert "already holds a run (done); give resume=true" in line


def test_an_unreadable_image_is_reported_and_skipped(scenes, capfd, tmp_path) -> None:
    for n, name in enumerate(sorted((scenes / "images").iterdir())[:2]):
        shutil.copy(name, tmp_path / f"{n}.jpg")
    (tmp_path / "bad.jpg").write_text("<html>")
    run_ok("extract", f"images={tmp_path}", f"out={tmp_path}/f.h5", "detector=random")
    printed = capfd.readouterr()
    assert "bad.jpg: not an image" in printed.err
    assert "1 images could not be read" in printed.err
    assert "2 images" in printed.out


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (["captions", "constraints"], "features"),
        (["score", "task=caption", "references=r.json"], "predictions"),
        (["predict", "run=r"], "images"),
        (["features", "import", "format=pa_tsv"], "source"),
    ],
)
def test_a_file_that_a_command_reads_is_never_replaced(command, key, tmp_path, capfd) -> None:
    (tmp_path / "same.json").write_text("precious")
    (tmp_path / "link.json").symlink_to(tmp_path / "same.json")
    line = run_error(capfd, *command, f"{key}={tmp_path}/same.json", f"out={tmp_path}/link.json")
    assert line.endswith(f"out={tmp_path}/link.json: would replace the file of {key}=; give another out=")
    assert (tmp_path / "same.json").read_text() == "precious"


@pytest.mark.parametrize(
    ("experiment", "option", "message"),
    [
        (
            "vqa_scenes",
            "model=updown_small",
            "model must answer questions, and UpDownCaptioner generates captions",
        ),
        ("vqa_scenes", "data.train=x", "train must be a VQASource, got 'x'"),
        ("caption_scenes", "data.vocabulary=x", "vocabulary must be a VocabularyOptions, got 'x'"),
        ("caption_scenes", "optimizer.lr=abc", "optimizer.lr=abc: must be a number"),
        ("caption_scenes", "optimizer.lr=null", "optimizer.lr=None: must be a number"),
    ],
)
def test_parts_of_another_kind_are_refused_before_a_run_begins(
    experiment, option, message, scenes, tmp_path, capfd
) -> None:
    words = [f"experiment={experiment}", f"scenes={scenes}", "trainer.accelerator=cpu", option]
    assert message in run_error(capfd, "train", *words, f"out={tmp_path}/r")
    assert not (tmp_path / "r").exists()


def test_help_lists_every_command_without_delay(bua) -> None:
    started = time.monotonic()
    done = bua("--help")
    seconds = time.monotonic() - started
    assert done.returncode == 0
    assert all(name.replace("_", " ") in done.stdout for name in COMMANDS)
    assert seconds < 2  # half a second on an idle machine: experiments/speed


def test_help_imports_neither_torch_nor_hydra() -> None:
    code = (
        "import sys; from bua.cli import main; main(['--help'])\n"
        "print([m for m in ('torch', 'hydra', 'h5py', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_an_environment_variable_shows_tracebacks(monkeypatch) -> None:
    monkeypatch.setenv("BUA_TRACEBACK", "1")
    with pytest.raises(InputError, match="/nowhere: file or folder does not exist"):
        main(["extract", "images=/nowhere", "out=y"])


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("caption", "vqa", "'caption', not 'vqa'"),
        (None, {"answers": []}, "None, not {'answers': []}"),
        ({"words": ["a", "b"]}, {"words": ["a"]}, "words: 2, not 1"),
        ({"words": ["a", "b"]}, {"words": ["a", "c"]}, "words: number 1 is 'b', not 'c'"),
        ({"same": 1}, {"same": 1, "more": 2}, "more: None, not 2"),
    ],
)
def test_the_difference_of_two_records_is_described_briefly(first, second, expected) -> None:
    assert describe_difference(first, second) == expected
