"""Measure on a GPU: rewards, a VQA training and its loading, detectors, with mixed precision and compiled."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from answering import QUESTIONS, WHAT, Plain, answerer, batch, our_step, plain_step
from captioning import Row, Timer, fastest, finished, reward_share
from compiled import WAYS, compared
from questions import loading

from bua.detectors.c4.model import C4RCNN
from bua.detectors.detector import FrozenDetector
from bua.detectors.fpn import TorchvisionRCNN
from bua.detectors.resize import Resize
from bua.detectors.selection import Selection

#: Photographs that a detector looks at together, and the pixels of each.
PHOTOGRAPHS, HEIGHT, WIDTH = 8, 480, 640
#: Precision of a detector, and whether maps are laid out for convolutions.
LAYOUTS = {
    "as it is": ("32-true", False),
    "bf16": ("bf16-mixed", False),
    "bf16, channels last": ("bf16-mixed", True),
}


def answering() -> list[Row]:
    """Time a training step of the Up-Down VQA model in every way, and a plain transcription as it is."""
    given = batch("cuda")
    functions = [finished(plain_step(Plain().cuda(), given), "cuda")]
    for half, compiled in WAYS.values():
        torch.manual_seed(0)
        model = answerer().cuda()
        if compiled:
            model.compile()
        context = torch.autocast("cuda", torch.bfloat16, enabled=half)
        functions.append(finished(context(our_step(model, given)), "cuda"))
    transcribed, *took = fastest(functions, 10)
    against = {
        "what": f"{WHAT} on the GPU, against a plain transcription",
        "value": f"{transcribed / took[0]:.2f} times as fast",
        "wanted": "",
    }
    return [against, *compared("the same step on the GPU", WAYS, QUESTIONS, "questions", took)]


def paper() -> Any:
    """Return the detector of the paper, untrained: ResNet-101 C4, 1,600 classes, 400 attributes."""
    names: dict[str, Any] = {
        "classes": [f"c{n}" for n in range(1600)],
        "attributes": [f"a{n}" for n in range(400)],
    }
    return C4RCNN(**names, resize=Resize(side=600, longest=1000, rule="caffe"))


def torchvisions() -> Any:
    """Return torchvision's Faster R-CNN with ResNet-50 and a pyramid, untrained."""
    resize = Resize(side=800, longest=1333, rule="torchvision")
    classes = [f"c{n}" for n in range(90)]
    return TorchvisionRCNN(architecture="fpn_r50", classes=classes, attributes=[], resize=resize)


def detecting(what: str, make: Callable[[], Any]) -> list[Row]:
    """Time a detector on noise, of which it proposes as many regions as it may, in every layout."""
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(PHOTOGRAPHS)]
    functions = []
    for precision, channels_last in LAYOUTS.values():
        torch.manual_seed(0)
        detector = FrozenDetector(
            name=what,
            model=make(),
            selection=Selection(min_regions=10, max_regions=100, threshold=0.2, nms_iou=0.3, pixel=1),
            weights_sha256="0",
            configuration={},
            device="cuda",
            precision=precision,
            channels_last=channels_last,
        )
        prepared = [detector.resize.prepare(photo, None) for photo in photos]
        functions.append(finished(functools.partial(detector, prepared), "cuda"))
    took = fastest(functions, 5)
    on = f"regions by {what} on the GPU, {PHOTOGRAPHS} photographs of {WIDTH} x {HEIGHT}"
    return compared(on, LAYOUTS, PHOTOGRAPHS, "images", took, digits=1)


def others(seconds: Timer) -> list[Row]:
    """Measure everything but the ways to compute of captioners."""
    return [
        reward_share(seconds, "cuda"),
        *answering(),
        loading(device="cuda"),
        *detecting("the detector of the paper", paper),
        *detecting("torchvision's R50-FPN", torchvisions),
    ]
