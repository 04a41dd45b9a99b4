"""Measure the share of detection in an extraction, and whether its memory is constant."""

import os
import subprocess
import sys
import tempfile
from itertools import cycle, islice
from pathlib import Path

from timing import Row

from bua.detectors.extract import ExtractionOptions, extract
from bua.detectors.photo_files import find_photos
from bua.detectors.pyramid import PyramidDetector
from bua.detectors.selection import Selection

COMMAND = [sys.executable, "-m", "bua", "extract"]


def image_files(data: Path) -> list[Path]:
    """Return the 504 real images of COCO and VQA v2."""
    return sorted((data / "coco_mini/images").iterdir()) + sorted((data / "vqa_v2_mini/images").iterdir())


def link_images(files: list[Path], count: int, folder: Path) -> Path:
    """Fill a folder with ``count`` links to the files, which repeat."""
    folder.mkdir()
    for n, file in enumerate(islice(cycle(files), count)):
        (folder / f"{n:05d}{file.suffix}").symlink_to(file)
    return folder


def measure_share(data: Path) -> Row:
    """Extract 500 images with the small detector, and return the share of time outside of it."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        selection = Selection(min_regions=10, max_regions=100, threshold=0.2, nms_iou=0.3, pixel=1)
        detector = PyramidDetector(name="scenes_fpn", weights=None, selection=selection)
        options = ExtractionOptions(
            batch_size=16, shard_size=2000, num_workers=1, dtype="float16", max_errors=0
        )
        photos = find_photos(link_images(image_files(data), 500, out / "images"))
        result = extract(photos, detector, out / "f.h5", options)
    share = 1 - result.detector_seconds / result.seconds
    return {
        "what": "share of time outside the detector in an extraction of 500 images with the small detector",
        "value": f"{share:.1%} (at {result.num_processed / result.seconds:.0f} images/s)",
        "target": "at most 10%",
    }


def measure_memory(data: Path) -> Row:
    """Extract 200 and 2,000 images, and compare the largest process of each."""
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for count in (200, 2000):
            images = link_images(image_files(data), count, out / f"{count}")
            with open(os.devnull, "w") as null:
                command = [*COMMAND, f"images={images}", f"out={out}/{count}.h5"]
                process = subprocess.Popen(command, stdout=null)
                _, status, usage = os.wait4(process.pid, 0)
            if status:
                raise SystemExit(f"extraction failed with status {status}")
            peaks.append(usage.ru_maxrss / 1024)
    return {
        "what": "resident memory of an extraction of 2,000 images, compared with one of 200",
        "value": f"{peaks[1] / peaks[0]:.2f} times ({peaks[1]:.0f} MiB)",
        "target": "equal",
    }
