"""What several tests share: the folder of real data, a small data set, a small store."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bua.data.scenes.write import write_scenes
from bua.detectors.extract import ExtractionOptions, extract
from bua.detectors.photo_files import find_photos
from bua.detectors.random_detector import RandomDetector
from tests.helpers.parity import ROOT, SHARED


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data."""
    if not SHARED.is_dir():
        pytest.skip("the real data (../shared) is not there")
    return SHARED


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic data set with regions at random in regions.h5."""
    out = tmp_path_factory.mktemp("scenes")
    counts = {"train": 24, "val": 8, "test": 8, "novel": 6}
    write_scenes(out, seed=5, counts=counts, questions=6, num_workers=1, report=lambda line: None)
    detector = RandomDetector(feature_size=12, min_regions=3, max_regions=7, seed=0)
    options = ExtractionOptions(batch_size=8, shard_size=20, num_workers=0, dtype="float16", max_errors=0)
    extract(find_photos(out / "images"), detector, out / "regions.h5", options)
    return out


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root can mount a file system")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.fixture
def bua() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command as a user would, in a process of its own."""

    def run(*arguments: object, cwd: Path | None = None, **more: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bua", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=cwd or ROOT, timeout=540, check=False, **more
        )

    return run
