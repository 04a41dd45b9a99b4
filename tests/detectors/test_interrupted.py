"""Extraction that is killed, shared by processes, out of space, or held up by another writer."""

import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from lightning_fabric.utilities.exceptions import MisconfigurationException
from PIL import Image

from bua.detectors.extract import extract
from bua.detectors.photos import find_photos
from bua.detectors.random_detector import RandomDetector
from bua.engine import distributed
from bua.errors import InputError
from bua.store import FeatureStore, StoreWriter
from bua.store.check import check_store
from tests.conftest import ABOUT
from tests.detectors.test_extract import arrays

FORK = multiprocessing.get_context("fork")


class Slow(RandomDetector):
    """A detector that takes its time."""

    def __call__(self, images):
        time.sleep(0.01)
        return super().__call__(images)


def detector() -> Slow:
    return Slow(feature_size=16, min_regions=2, max_regions=6, seed=0)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for n in range(60):
        size = ((20, 30), (25, 25), (18, 44))[n % 3]
        Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(out / f"{n:012d}.png")
    (out / f"{77:012d}.jpg").write_text("no photograph")
    return out


def run(folder: Path, out: Path, workers: int = 0, **more) -> None:
    options = {"batch_size": 2, "shard_size": 5, "dtype": "float32", "max_errors": None} | more
    extract(find_photos(folder), detector(), out, workers=workers, **options)


def killed_after(seconds: float, folder: Path, out: Path, workers: int) -> bool:
    """Run in a process of its own, kill it after some time, and say whether it had to be killed."""
    process = FORK.Process(target=run, args=(folder, out, workers))
    process.start()
    process.join(seconds)
    alive = process.is_alive()
    if alive:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return alive


def test_twenty_kills_at_random_moments_end_in_identical_contents(photos, tmp_path) -> None:
    started = time.monotonic()
    run(photos, tmp_path / "whole.h5")
    whole = time.monotonic() - started
    moments = random.Random(5)
    kills, attempt = 0, 0
    while kills < 20:
        attempt += 1
        out = tmp_path / f"{attempt}" / "f.h5"
        for _ in range(moments.randint(1, 4)):  # killed again while it goes on
            kills += killed_after(moments.uniform(0.02, 1.1) * whole, photos, out, workers=attempt % 2)
        run(photos, out)
        assert arrays(out) == arrays(tmp_path / "whole.h5")
        assert check_store(out) == []
        run(photos, out)
        assert sorted(p.name for p in out.parent.iterdir()) == ["f.errors.jsonl", "f.h5"]


def test_a_kill_between_the_last_rename_and_tidying_leaves_a_finished_file(photos, tmp_path) -> None:
    run(photos, tmp_path / "f.h5")
    before = arrays(tmp_path / "f.h5")
    (tmp_path / "f.h5.shards").mkdir()
    (tmp_path / "f.h5.shards" / "rank00-000000.h5").write_bytes(b"left behind")
    (tmp_path / "f.h5.lock").write_text("process 1 on somewhere")
    run(photos, tmp_path / "f.h5")
    assert arrays(tmp_path / "f.h5") == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.errors.jsonl", "f.h5"]


def test_a_second_extraction_into_the_same_file_is_told_who_writes_it(photos, tmp_path) -> None:
    process = FORK.Process(target=run, args=(photos, tmp_path / "f.h5"))
    process.start()
    deadline = time.monotonic() + 20
    while not (tmp_path / "f.h5.lock").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.02)
    with pytest.raises(InputError, match=rf"f\.h5: process {process.pid} on .* is writing it"):
        run(photos, tmp_path / "f.h5")
    process.join()
    assert process.exitcode == 0
    assert len(FeatureStore(tmp_path / "f.h5")) == 60


def test_a_process_left_over_from_a_killed_team_holds_up_the_next(tmp_path) -> None:
    orphan = StoreWriter(tmp_path / "f.h5", ABOUT, rank=1)
    with StoreWriter(tmp_path / "f.h5", ABOUT):
        orphan.open()
    with pytest.raises(InputError, match="is writing it"), StoreWriter(tmp_path / "f.h5", ABOUT):
        pass
    orphan.close()
    with StoreWriter(tmp_path / "f.h5", ABOUT):
        pass


def limited(folder: Path, out: Path, size: int, result) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    try:
        run(folder, out)
        result.put("done")
    except InputError as error:
        result.put(str(error))


def test_a_full_disk_is_one_line_and_the_finished_shards_stay(photos, tmp_path) -> None:
    result = FORK.Queue()
    process = FORK.Process(target=limited, args=(photos, tmp_path / "f.h5", 2**20 + 2000, result))
    process.start()
    line = result.get(timeout=60)
    process.join()
    assert "cannot be written" in line
    assert process.exitcode == 0
    run(photos, tmp_path / "f.h5")
    run(photos, tmp_path / "g.h5")
    assert arrays(tmp_path / "f.h5") == arrays(tmp_path / "g.h5")


@pytest.mark.slow
def test_a_team_of_two_killed_at_work_goes_on_to_the_contents_of_one_process(photos, tmp_path, bua) -> None:
    common = [f"images={photos}", "detector=random", "detector.feature_size=2048", "batch_size=1"]
    common += ["device=cpu"]
    team = [*common, f"out={tmp_path}/two.h5", "trainer.devices=2", "shard_size=1"]
    command = [sys.executable, "-m", "bua", "extract", *team]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        while not (done := shards(tmp_path / "two.h5.shards")):
            assert process.poll() is None
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
    assert 0 < done < 60
    assert not (tmp_path / "two.h5").exists()
    two = bua("extract", *team)
    one = bua("extract", *common, f"out={tmp_path}/one.h5")
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    assert arrays(tmp_path / "one.h5") == arrays(tmp_path / "two.h5")
    assert two.stderr.count("1 photographs could not be read") == 1
    again = bua("extract", *team)
    assert again.returncode == 0
    assert "as before" in again.stdout
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == ["one.errors.jsonl", "one.h5", "two.errors.jsonl", "two.h5"]


def shards(folder: Path) -> int:
    """Return how many shards are listed."""
    return sum(len(path.read_text().splitlines()) for path in folder.glob("manifest*.jsonl"))


@pytest.mark.slow
def test_a_mistake_of_one_of_two_processes_ends_both_with_one_line(photos, tmp_path, bua) -> None:
    done = bua(
        "extract",
        f"images={photos}",
        "detector=random",
        f"out={tmp_path}/f.h5",
        "trainer.devices=2",
        "device=cpu",
        "max_errors=0",
    )
    assert done.returncode == 2
    assert done.stderr.count("bua extract: 1 photographs cannot be read, more than max_errors=0") == 1
    assert "Traceback" not in done.stderr


def test_more_processes_than_devices_are_one_line(monkeypatch) -> None:
    def fabric(**_: object) -> None:
        raise MisconfigurationException("You requested gpu: [0, 1]\n But your machine only has: [0]")

    monkeypatch.setattr(team, "Fabric", fabric)
    line = r"trainer.devices=2 trainer.num_nodes=1: You requested gpu: \[0, 1\] But your .* has: \[0\]"
    with pytest.raises(InputError, match=line):
        distributed.with_team(print, device="cuda", devices=2, num_nodes=1)
