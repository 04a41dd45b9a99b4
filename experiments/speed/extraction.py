"""How much of an extraction is detection, and whether its memory stays flat."""

import os
import subprocess
import sys
import tempfile
from itertools import cycle, islice
from pathlib import Path

from bua.detectors.extract import ExtractionOptions, extract
from bua.detectors.photo import find_photos
from bua.detectors.pyramid import PyramidDetector
from bua.detectors.selection import Selection

COMMAND = [sys.executable, "-m", "bua", "extract"]


def photographs(data: Path) -> list[Path]:
    """Return the real photographs of COCO and VQA v2, 504 of them."""
    return sorted((data / "coco_mini/images").iterdir()) + sorted((data / "vqa_v2_mini/images").iterdir())


def linked(files: list[Path], count: int, folder: Path) -> Path:
    """Fill a folder with so many links, over and over to the same files."""
    folder.mkdir()
    for n, file in enumerate(islice(cycle(files), count)):
        (folder / f"{n:05d}{file.suffix}").symlink_to(file)
    return folder


def extraction_share(data: Path) -> dict[str, str]:
    """Extract 500 photographs with the small detector; return the share of time outside of it."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        rule = Selection(min_regions=10, max_regions=100, threshold=0.2, nms_iou=0.3, pixel=1)
        detector = PyramidDetector(name="scenes_fpn", weights=None, selection=rule)
        options = ExtractionOptions(
            batch_size=16, shard_size=2000, num_workers=1, dtype="float16", max_errors=0
        )
        photos = find_photos(linked(photographs(data), 500, out / "photographs"))
        result = extract(photos, detector, out / "f.h5", options)
    outside = 1 - result.detector_seconds / result.seconds
    return {
        "what": "extraction of 500 photographs with the small detector: time outside of the detector",
        "value": f"{outside:.1%} (at {result.num_processed / result.seconds:.0f} images/s)",
        "wanted": "10 % at most",
    }


def extraction_memory(data: Path) -> dict[str, str]:
    """Extract 200 and 2,000 photographs; compare the largest process of each."""
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for count in (200, 2000):
            photos = linked(photographs(data), count, out / f"{count}")
            with open(os.devnull, "w") as null:
                command = [*COMMAND, f"images={photos}", f"out={out}/{count}.h5"]
                process = subprocess.Popen(command, stdout=null)
                _, status, usage = os.wait4(process.pid, 0)
            if status:
                raise SystemExit(f"extraction failed with status {status}")
            peaks.append(usage.ru_maxrss / 1024)
    return {
        "what": "resident memory of the extraction of 2,000 photographs, against that of 200",
        "value": f"{peaks[1] / peaks[0]:.2f} times ({peaks[1]:.0f} MiB)",
        "wanted": "the same",
    }
