"""Extraction that is killed, divided among processes, out of disk space, or blocked by another writer."""

import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from lightning_fabric.utilities.exceptions import MisconfigurationException
from PIL import Image
from tqdm import tqdm

from bua.detectors.extract import ExtractionOptions, extract
from bua.detectors.photo_files import find_photos
from bua.detectors.random_detector import RandomDetector
from bua.engine import distributed
from bua.errors import InputError
from bua.store import FeatureStore, StoreWriter
from bua.store.check import check_store
from tests.helpers.commands import run_ok
from tests.helpers.detectors import store_arrays
from tests.helpers.stores import METADATA

FORK = multiprocessing.get_context("fork")
# tqdm's default lock is shared with forked processes; one that is killed while holding it would block this
tqdm.set_lock(threading.RLock())


class Slow(RandomDetector):
    """A detector that is slow."""

    def __call__(self, images):
        time.sleep(0.01)
        return super().__call__(images)


def detector() -> Slow:
    return Slow(feature_size=16, min_regions=2, max_regions=6, seed=0)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for n in range(30):
        size = ((20, 30), (25, 25), (18, 44))[n % 3]
        Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(out / f"{n:012d}.png")
    (out / f"{77:012d}.jpg").write_text("not an image")
    return out


def run(folder: Path, out: Path, num_workers: int = 0) -> None:
    options = ExtractionOptions(
        batch_size=2, shard_size=5, num_workers=num_workers, dtype="float32", max_errors=None
    )
    extract(find_photos(folder), detector(), out, options)


def kill_after(seconds: float, folder: Path, out: Path, num_workers: int) -> bool:
    """Run an extraction in a separate process and kill it after some time, unless it has finished."""
    process = FORK.Process(target=run, args=(folder, out, num_workers))
    process.start()
    process.join(seconds)
    alive = process.is_alive()
    if alive:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return alive


def test_twenty_kills_at_random_moments_leave_the_contents_the_same(photos, tmp_path) -> None:
    started = time.monotonic()
    run(photos, tmp_path / "whole.h5")
    duration = time.monotonic() - started
    rng = random.Random(5)
    kills, attempt = 0, 0
    while kills < 20:
        attempt += 1
        out = tmp_path / f"{attempt}" / "f.h5"
        for _ in range(rng.randint(1, 4)):  # also killed while it resumes
            kills += kill_after(rng.uniform(0.02, 1.1) * duration, photos, out, num_workers=attempt % 2)
        run(photos, out)
        assert store_arrays(out) == store_arrays(tmp_path / "whole.h5")
        assert check_store(out) == []
        run(photos, out)
        assert sorted(p.name for p in out.parent.iterdir()) == ["f.errors.jsonl", "f.h5"]


def test_a_kill_between_the_last_rename_and_the_cleanup_leaves_a_finished_file(photos, tmp_path) -> None:
    run(photos, tmp_path / "f.h5")
    before = store_arrays(tmp_path / "f.h5")
    (tmp_path / "f.h5.shards").mkdir()
    (tmp_path / "f.h5.shards" / "rank00-000000.h5").write_bytes(b"leftover")
    (tmp_path / "f.h5.lock").write_text("process 1 on somewhere")
    run(photos, tmp_path / "f.h5")
    assert store_arrays(tmp_path / "f.h5") == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.errors.jsonl", "f.h5"]


def test_a_second_extraction_into_the_same_file_reports_the_writing_process(photos, tmp_path) -> None:
    process = FORK.Process(target=run, args=(photos, tmp_path / "f.h5"))
    process.start()
    deadline = time.monotonic() + 20
    while not (tmp_path / "f.h5.lock").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.02)
    with pytest.raises(InputError, match=rf"f\.h5: is being written by process {process.pid} on "):
        run(photos, tmp_path / "f.h5")
    process.join()
    assert process.exitcode == 0
    assert len(FeatureStore(tmp_path / "f.h5")) == 30


def test_an_orphan_of_a_killed_process_group_blocks_the_next_extraction(tmp_path) -> None:
    orphan = StoreWriter(tmp_path / "f.h5", METADATA, rank=1)
    with StoreWriter(tmp_path / "f.h5", METADATA):
        orphan.open()
    with pytest.raises(InputError, match="is being written by"), StoreWriter(tmp_path / "f.h5", METADATA):
        pass
    orphan.close()
    with StoreWriter(tmp_path / "f.h5", METADATA):
        pass


def run_with_limit(folder: Path, out: Path, size: int, result) -> None:
    """Run an extraction in which no file can grow beyond a size, and put its outcome into a queue."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    try:
        run(folder, out)
        result.put("done")
    except InputError as error:
        result.put(str(error))


def test_a_full_disk_is_reported_in_one_line_and_the_finished_shards_stay(photos, tmp_path) -> None:
    result = FORK.Queue()
    process = FORK.Process(target=run_with_limit, args=(photos, tmp_path / "f.h5", 2**20 + 2000, result))
    process.start()
    line = result.get(timeout=60)
    process.join()
    assert "cannot be written" in line
    assert process.exitcode == 0
    run(photos, tmp_path / "f.h5")
    run(photos, tmp_path / "g.h5")
    assert store_arrays(tmp_path / "f.h5") == store_arrays(tmp_path / "g.h5")


@pytest.mark.slow
def test_two_processes_that_were_killed_resume_to_the_contents_of_one_process(
    photos, tmp_path, bua, capfd
) -> None:
    common = [f"images={photos}", "detector=random", "detector.feature_size=2048", "batch_size=1"]
    common += ["device=cpu"]
    group = [*common, f"out={tmp_path}/two.h5", "trainer.devices=2", "shard_size=1"]
    command = [sys.executable, "-m", "bua", "extract", *group]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        while not (done := num_shards(tmp_path / "two.h5.shards")):
            assert process.poll() is None
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
    assert 0 < done < 30
    assert not (tmp_path / "two.h5").exists()
    two = bua("extract", *group)
    assert two.returncode == 0, two.stderr
    run_ok("extract", *common, f"out={tmp_path}/one.h5")
    assert store_arrays(tmp_path / "one.h5") == store_arrays(tmp_path / "two.h5")
    assert two.stderr.count("1 images could not be read") == 1
    capfd.readouterr()
    run_ok("extract", *common, f"out={tmp_path}/two.h5")
    assert "already extracted" in capfd.readouterr().out
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == ["one.errors.jsonl", "one.h5", "two.errors.jsonl", "two.h5"]


def num_shards(folder: Path) -> int:
    """Return the number of shards in the manifests."""
    return sum(len(path.read_text().splitlines()) for path in folder.glob("manifest*.jsonl"))


@pytest.mark.slow
def test_an_error_in_one_of_two_processes_ends_both_with_one_line(photos, tmp_path, bua) -> None:
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
    assert done.stderr.count("bua extract: 1 images cannot be read, more than max_errors=0") == 1
    assert "Traceback" not in done.stderr


def test_more_processes_than_devices_are_reported_in_one_line(monkeypatch) -> None:
    def fabric(**_: object) -> None:
        raise MisconfigurationException("You requested gpu: [0, 1]\n But your machine only has: [0]")

    monkeypatch.setattr(distributed, "Fabric", fabric)
    line = r"trainer.devices=2 trainer.num_nodes=1: You requested gpu: \[0, 1\] But your .* has: \[0\]"
    with pytest.raises(InputError, match=line):
        distributed.run_distributed(print, device="cuda", devices=2, num_nodes=1)
