"""Measure on a GPU: rewards, VQA training and its data, and detectors, in mixed precision and compiled."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from captioning import reward_share
from compiled import MODES, compare_modes
from timing import Row, fastest_seconds, synchronized
from vqa_data import measure_loading
from vqa_step import QUESTIONS, WHAT, PlainUpDownVQA, our_step, plain_step, random_batch, updown_hu

from bua.detectors.c4.model import C4RCNN
from bua.detectors.detector import FrozenDetector
from bua.detectors.fpn import TorchvisionRCNN
from bua.detectors.photo import Resize
from bua.detectors.selection import Selection

#: Number and size of the images that a detector is given at once.
IMAGES, HEIGHT, WIDTH = 8, 480, 640
#: Precision of a detector, and whether its memory format is channels-last.
DETECTOR_MODES = {
    "float32": ("32-true", False),
    "bf16": ("bf16-mixed", False),
    "bf16, channels last": ("bf16-mixed", True),
}


def measure_vqa_step() -> list[Row]:
    """Time a training step of the Up-Down VQA model in every mode, and a plain implementation in float32."""
    batch = random_batch("cuda")
    functions = [synchronized(plain_step(PlainUpDownVQA().cuda(), batch), "cuda")]
    for half, compiled in MODES.values():
        torch.manual_seed(0)
        model = updown_hu().cuda()
        if compiled:
            model.compile()
        context = torch.autocast("cuda", torch.bfloat16, enabled=half)
        functions.append(synchronized(context(our_step(model, batch)), "cuda"))
    plain, *seconds = fastest_seconds(functions, 10)
    comparison = {
        "what": f"{WHAT} on the GPU, compared with a plain implementation",
        "value": f"{plain / seconds[0]:.2f} times as fast",
        "target": "",
    }
    return [comparison, *compare_modes("the same step on the GPU", MODES, QUESTIONS, "questions", seconds)]


def paper_detector() -> Any:
    """Return the untrained detector of the paper: ResNet-101 C4, 1,600 classes, 400 attributes."""
    names: dict[str, Any] = {
        "classes": [f"c{n}" for n in range(1600)],
        "attributes": [f"a{n}" for n in range(400)],
    }
    return C4RCNN(**names, resize=Resize(min_size=600, max_size=1000, rule="caffe"))


def torchvision_detector() -> Any:
    """Return torchvision's untrained Faster R-CNN with a ResNet-50 FPN."""
    resize = Resize(min_size=800, max_size=1333, rule="torchvision")
    classes = [f"c{n}" for n in range(90)]
    return TorchvisionRCNN(architecture="fpn_r50", classes=classes, attributes=[], resize=resize)


def measure_detector(name: str, make_model: Callable[[], Any]) -> list[Row]:
    """Time a detector in every mode on noise, of which it proposes as many regions as allowed."""
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(IMAGES)]
    functions = []
    for precision, channels_last in DETECTOR_MODES.values():
        torch.manual_seed(0)
        detector = FrozenDetector(
            name=name,
            model=make_model(),
            selection=Selection(min_regions=10, max_regions=100, threshold=0.2, nms_iou=0.3, pixel=1),
            weights_sha256="0",
            configuration={},
            device="cuda",
            precision=precision,
            channels_last=channels_last,
        )
        prepared = [detector.resize.prepare(photo, None) for photo in photos]
        functions.append(synchronized(functools.partial(detector, prepared), "cuda"))
    seconds = fastest_seconds(functions, 5)
    what = f"regions of {name} on the GPU, {IMAGES} images of {WIDTH} x {HEIGHT}"
    return compare_modes(what, DETECTOR_MODES, IMAGES, "images", seconds, digits=1)


def measure_gpu() -> list[Row]:
    """Measure everything in this module."""
    return [
        reward_share("cuda"),
        *measure_vqa_step(),
        measure_loading(device="cuda"),
        *measure_detector("the paper's detector", paper_detector),
        *measure_detector("torchvision's R50-FPN", torchvision_detector),
    ]
