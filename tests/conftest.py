"""What several tests share: the folder of real data, a small data set, a small store."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bua.data.scenes.write import write_scenes
from bua.detectors.extract import extract
from bua.detectors.photos import find_photos
from bua.detectors.random_detector import RandomDetector
from bua.store import Regions, StoreMetadata, StoreWriter
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
    write_scenes(out, seed=5, counts=counts, questions=6, workers=1, report=lambda line: None)
    detector = RandomDetector(feature_size=12, min_regions=3, max_regions=7, seed=0)
    extract(
        find_photos(out / "images"),
        detector,
        out / "regions.h5",
        batch_size=8,
        shard_size=20,
        workers=0,
        dtype="float16",
        max_errors=0,
    )
    return out


@pytest.fixture
def bua() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command as a user would, in a process of its own."""

    def run(*arguments: object, cwd: Path | None = None, **more: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bua", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=cwd or ROOT, timeout=540, check=False, **more
        )

    return run


def regions(count: int, width: int = 6, seed: int = 0, **more: object) -> Regions:
    """Return sound regions at random."""
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.random((count, 2, 2), dtype=np.float32), axis=1).reshape(count, 4)
    return Regions(
        rng.standard_normal((count, width), dtype=np.float32).astype(np.float16),
        corners * np.float32(50),
        (50, 50),
        **more,
    )


ABOUT = StoreMetadata("test", {"selection": {"min_regions": 1}}, "0" * 64)


def write_store(path: Path, images: dict[object, Regions], about: StoreMetadata = ABOUT) -> Path:
    """Write a store in one shard."""
    with StoreWriter(path, about) as writer:
        writer.write(list(images.items()))
        return writer.pack(list(images))
