"""Extraction: the same contents however often it is interrupted, and nothing dropped silently."""

import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bua.detectors.extract import ExtractionOptions, ExtractionResult, ProcessGroup, extract
from bua.detectors.photo_files import find_photos
from bua.detectors.random_detector import RandomDetector
from bua.detectors.resume import errors_file
from bua.errors import InputError
from bua.store import FeatureStore
from bua.store.check import check_store
from tests.helpers.detectors import store_arrays


def detector(seed: int = 0) -> RandomDetector:
    return RandomDetector(feature_size=8, min_regions=2, max_regions=6, seed=seed)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Images of two sizes, and two files that are not images."""
    out = tmp_path / "photos"
    out.mkdir()
    rng = np.random.default_rng(0)
    for n in range(14):
        size = (20, 30) if n % 3 else (25, 25)
        Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(out / f"{n:012d}.png")
    (out / f"{90:012d}.jpg").write_bytes(b"")
    (out / f"{5:012d}.jpg").write_text("<html>")
    (out / f"{5:012d}.png").unlink()
    return out


def run(folder: Path, out: Path, other_detector=None, **overrides) -> ExtractionResult:
    options = {"batch_size": 3, "shard_size": 4, "num_workers": 0, "dtype": "float16", "max_errors": None}
    options = ExtractionOptions(**(options | overrides))
    return extract(find_photos(folder), other_detector or detector(), out, options)


def test_every_readable_image_is_in_the_store_and_the_rest_is_listed(folder, tmp_path) -> None:
    result = run(folder, tmp_path / "f.h5")
    assert (result.num_images, result.num_processed) == (13, 15)
    assert set(result.errors) == {5, 90}
    assert FeatureStore(tmp_path / "f.h5").image_ids == [n for n in range(14) if n != 5]
    assert check_store(tmp_path / "f.h5") == []
    listed = [json.loads(line) for line in errors_file(tmp_path / "f.h5").read_text().splitlines()]
    assert {e["image_id"] for e in listed} == {5, 90}
    assert all(str(folder) in e["error"] for e in listed)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.errors.jsonl", "f.h5", "photos"]


class Interrupted(RandomDetector):
    """A detector that is interrupted after some calls."""

    calls = 0

    def __call__(self, images):
        self.calls += 1
        if self.calls > 4:
            raise KeyboardInterrupt
        return super().__call__(images)


def interrupt(folder: Path, out: Path) -> None:
    """Run an extraction that is interrupted."""
    with pytest.raises(KeyboardInterrupt):
        run(folder, out, Interrupted(feature_size=8, min_regions=2, max_regions=6, seed=0))


def test_an_interrupted_extraction_ends_in_the_same_contents(folder, tmp_path) -> None:
    run(folder, tmp_path / "whole.h5")
    interrupt(folder, tmp_path / "f.h5")
    assert not (tmp_path / "f.h5").exists()
    result = run(folder, tmp_path / "f.h5")
    assert 0 < result.num_processed < 15
    assert set(result.errors) == {5, 90}
    assert store_arrays(tmp_path / "f.h5") == store_arrays(tmp_path / "whole.h5")


def test_a_finished_file_is_accepted_and_not_written_again(folder, tmp_path) -> None:
    run(folder, tmp_path / "f.h5")
    before = (tmp_path / "f.h5").stat().st_mtime_ns
    result = run(folder, tmp_path / "f.h5")
    assert (result.num_images, result.num_processed, set(result.errors)) == (13, 0, {5, 90})
    assert (tmp_path / "f.h5").stat().st_mtime_ns == before


def test_a_finished_file_of_another_detector_or_with_fewer_images_is_rejected(folder, tmp_path) -> None:
    run(folder, tmp_path / "f.h5")
    other = RandomDetector(feature_size=8, min_regions=2, max_regions=6, seed=1)
    with pytest.raises(InputError, match="another detector"):
        run(folder, tmp_path / "f.h5", other)
    Image.new("RGB", (9, 9)).save(folder / f"{77:012d}.png")
    with pytest.raises(InputError, match="lacks 1 of 16 images, the first is 77"):
        run(folder, tmp_path / "f.h5")


def test_an_image_that_changed_after_its_extraction_is_rejected(folder, tmp_path) -> None:
    run(folder, tmp_path / "f.h5")
    later = (tmp_path / "f.h5").stat().st_mtime + 10
    os.utime(folder / f"{3:012d}.png", (later, later))
    with pytest.raises(InputError, match=r"000000000003.png: newer than its features in .*f.h5"):
        run(folder, tmp_path / "f.h5")


def test_images_that_failed_are_tried_again(folder, tmp_path) -> None:
    interrupt(folder, tmp_path / "f.h5")
    good = (folder / f"{6:012d}.png").read_bytes()
    (folder / f"{5:012d}.jpg").write_bytes(good)
    assert set(run(folder, tmp_path / "f.h5").errors) == {90}
    assert 5 in FeatureStore(tmp_path / "f.h5")
    (folder / f"{90:012d}.jpg").write_bytes(good)
    with pytest.raises(InputError, match="lacks 1 of 15 images, the first is 90"):
        run(folder, tmp_path / "f.h5")


def test_many_small_shards_can_be_packed_with_few_file_descriptors(folder, tmp_path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 90, before[1]))
    try:
        assert run(folder, tmp_path / "f.h5", shard_size=1).num_images == 13
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_list_may_hold_absolute_paths(folder, tmp_path) -> None:
    names = [str(p) for p in sorted(folder.glob("*.png"))]
    Path(tmp_path / "abs.txt").write_text("\n".join(names))
    found = find_photos(tmp_path / "abs.txt")
    assert [str(p.path) for p in found] == names
    (folder / "x.png").write_bytes(b"")
    Path(tmp_path / "abs.txt").write_text("\n".join([*names, str(folder / "x.png")]))
    assert [p.image_id for p in find_photos(tmp_path / "abs.txt")] == [*names, str(folder / "x.png")]


def test_too_many_unreadable_images_stop_the_extraction(folder, tmp_path) -> None:
    with pytest.raises(InputError, match="more than max_errors=1"):
        run(folder, tmp_path / "f.h5", max_errors=1)
    assert errors_file(tmp_path / "f.h5").exists()


def test_no_readable_image_is_an_error(tmp_path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p/a.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="none of 1 images"):
        run(tmp_path / "p", tmp_path / "f.h5")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_worker_processes_change_nothing(num_workers: int, folder, tmp_path) -> None:
    run(folder, tmp_path / "f.h5", num_workers=num_workers)
    run(folder, tmp_path / "g.h5", num_workers=0)
    assert store_arrays(tmp_path / "f.h5") == store_arrays(tmp_path / "g.h5")


def test_a_step_of_a_process_group_returns_the_first_result_or_raises_the_first_error() -> None:
    def gather_with(*others):
        return lambda value: [*others, value]

    group = ProcessGroup(1, 2, gather_with((None, "first")))
    assert group.run(lambda: "second") == "first"
    with pytest.raises(InputError, match="second failed"):
        group.run(lambda: fail("second failed"))
    group = ProcessGroup(1, 2, gather_with(("first failed", None)))
    with pytest.raises(InputError, match="first failed"):
        group.run(lambda: fail("second failed"))


def fail(message: str) -> None:
    raise InputError(message)


class OneSize(RandomDetector):
    """A detector that requires batches of at most three images, all of one size."""

    def __call__(self, images):
        assert len({image.geometry.resized_size for image in images}) == 1
        assert len(images) <= 3
        return super().__call__(images)


def test_batches_hold_images_of_one_size(folder, tmp_path) -> None:
    run(folder, tmp_path / "f.h5", OneSize(feature_size=8, min_regions=2, max_regions=6, seed=0))


def test_other_images_with_the_same_names_are_rejected(folder, tmp_path) -> None:
    run(folder, tmp_path / "f.h5")
    interrupt(folder, tmp_path / "g.h5")
    before = (folder / f"{1:012d}.png").stat()
    Image.new("RGB", (33, 21)).save(folder / f"{1:012d}.png")
    os.utime(folder / f"{1:012d}.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(InputError, match=r"f\.h5: created from other images with the same names"):
        run(folder, tmp_path / "f.h5")
    with pytest.raises(
        InputError, match=r"000000000001.png: differs from the file that its features in .*g.h5"
    ):
        run(folder, tmp_path / "g.h5")


def test_a_resumed_extraction_keeps_precision_and_names(folder, tmp_path) -> None:
    interrupt(folder, tmp_path / "f.h5")
    other = detector()
    other.class_names = ("other", "names")
    with pytest.raises(InputError, match="created with another detector or other options"):
        run(folder, tmp_path / "f.h5", other)
    run(folder, tmp_path / "f.h5")
    with pytest.raises(InputError, match="created by another detector or with other options"):
        run(folder, tmp_path / "f.h5", other)
