"""A command whose output does not fit on the disk ends in one line, and leaves nothing half-written."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.helpers.captioners import training
from tests.helpers.commands import run_error, run_ok

pytestmark = pytest.mark.slow

LARGE = ["model.word_size=64", "model.hidden_size=128", "model.attention_size=32"]


def fill(disk: Path, free: int) -> None:
    """Leave a few bytes of a file system free."""
    with open(disk / "ballast", "wb") as file:
        file.write(b"x" * (2**20 - free))


def files(disk: Path) -> list[str]:
    """Return the files of a file system, without the ballast."""
    return sorted(str(p.relative_to(disk)) for p in disk.rglob("*") if p.is_file() and p.name != "ballast")


@pytest.fixture(scope="module")
def run(scenes, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    run_ok(*training(scenes, out, "model.attention_size=6"))
    return out


def test_training(scenes, small_disk, capfd) -> None:
    line = run_error(capfd, *training(scenes, small_disk / "run", *LARGE))
    assert f"{small_disk}/run/checkpoints/" in line
    assert f".ckpt: cannot be written (No space left on device: {small_disk})" in line
    assert json.loads((small_disk / "run/status.json").read_text())["state"] == "failed"
    assert not [name for name in files(small_disk) if name.endswith((".partial", ".ckpt", ".lock"))]


def test_predicting_and_scoring(scenes, run, small_disk, tmp_path, capfd) -> None:
    predictions = tmp_path / "p.json"
    run_ok("predict", f"run={run}", f"images={scenes}/captions_test.json", f"out={predictions}")
    fill(small_disk, 0)
    words = {
        "p.json": ["predict", f"run={run}", f"images={scenes}/captions_test.json"],
        "m.json": [
            *["score", "task=caption", f"predictions={predictions}", "metrics=[cider]", "tokenizer=python"],
            f"references={scenes}/captions_test.json",
        ],
    }
    for name, command in words.items():
        line = run_error(capfd, *command, f"out={small_disk}/{name}")
        assert f"{small_disk}/{name}: cannot be written (No space left on device: {small_disk})" in line
    assert files(small_disk) == []


def test_writing_scenes_and_drawing_detections(scenes, small_disk, capfd) -> None:
    line = run_error(capfd, "scenes", f"out={small_disk}/s", "train=400", "val=0", "test=0", "novel=0")
    assert "cannot be written (No space left on device" in line
    assert not [name for name in files(small_disk) if name.endswith(".partial")]
    subprocess.run(["rm", "-r", small_disk / "s"], check=True)
    features = f"features={scenes}/regions.h5"
    line = run_error(
        capfd, "detect", f"images={scenes}/images", features, f"out={small_disk}/d", "score_threshold=0.0"
    )
    assert "cannot be written (No space left on device" in line
    assert not [name for name in files(small_disk) if name.endswith(".partial")]


def test_extracting(scenes, small_disk, capfd) -> None:
    words = ["extract", f"images={scenes}/images", "detector=random", "detector.feature_size=2048"]
    line = run_error(capfd, *words, f"out={small_disk}/f.h5")
    assert "f.h5" in line
    assert "cannot be written" in line or "bytes" in line
    assert not [name for name in files(small_disk) if name.endswith(".partial")]
