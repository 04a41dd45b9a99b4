"""Measure mixed precision and ``torch.compile`` of captioners, on the CPU or a GPU.

The time of compilation, a minute or two for each row, is not included.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from captioning import (
    LENGTH,
    VOCABULARY_SIZE,
    EndingCaptioner,
    random_regions,
    self_critical_step,
    self_critical_task,
    updown_captioner,
)
from timing import DEVICE_NAMES, Row, fastest_seconds, synchronized
from torch.nn import functional as F

from bua.decode import BeamSearch
from bua.inference.captioning import make_step_function
from bua.models.captioners.base import Captioner
from bua.models.captioners.transformer import TransformerCaptioner
from bua.structures.region_batch import RegionBatch

Model = Captioner[Any, Any]


def transformer() -> TransformerCaptioner:
    """Return the untrained Transformer of self-critical.pytorch."""
    torch.manual_seed(0)
    sizes = {"model_size": 512, "feed_forward_size": 2048, "layers": 6, "heads": 8}
    options = {"dropout": 0.1, "region_dropout": 0.5, "geometry": None}
    return TransformerCaptioner(feature_size=2048, vocabulary_size=VOCABULARY_SIZE, **sizes, **options)


def cross_entropy(model: Model, regions: RegionBatch, device: str) -> tuple[Callable[[], Any], int]:
    """Return a cross-entropy step of 5 captions per image, and the number of words that it reads."""
    words = torch.randint(4, VOCABULARY_SIZE, (len(regions.features), 5, LENGTH + 1), device=device)

    def step() -> None:
        logits = model(regions, words[..., :-1]).float()
        F.cross_entropy(logits.flatten(0, 2), words[..., 1:].flatten()).backward()
        model.zero_grad()

    return step, words[..., 1:].numel()


def self_critical(model: Model, regions: RegionBatch, device: str) -> tuple[Callable[[], Any], int]:
    """Return a self-critical step of 5 samples per image, and the number of words that it generates."""
    task, batch = self_critical_task(model, regions)
    return self_critical_step(task, batch), len(regions.features) * 5 * LENGTH


def beam_search(model: Model, regions: RegionBatch, device: str) -> tuple[Callable[[], Any], int]:
    """Return a beam search, and the number of words of its captions."""
    captioner, images = EndingCaptioner(model.eval()), len(regions.features)

    @torch.no_grad()
    def search() -> Any:
        return BeamSearch(5, 20)(*make_step_function(captioner, regions), images=images, device=device)

    return search, int((search().words[:, 0] != 0).sum())


#: What is timed: its work and the captioner.
WORK: dict[str, tuple[Callable[..., Any], Callable[[], Model]]] = {
    "cross-entropy step of Up-Down": (cross_entropy, updown_captioner),
    "cross-entropy step of the Transformer": (cross_entropy, transformer),
    "self-critical step of Up-Down": (self_critical, updown_captioner),
    "beam search of Up-Down": (beam_search, updown_captioner),
    "beam search of the Transformer": (beam_search, transformer),
}
#: Modes of computation: whether in half precision, and whether compiled.
MODES = {
    "float32": (False, False),
    "float32, compiled": (False, True),
    "bf16": (True, False),
    "bf16, compiled": (True, True),
}
LARGE_BATCH_MODES = {name: mode for name, mode in MODES.items() if name != "float32, compiled"}
#: Images of a training step and of a search, as in the recipes and as many as suit a GPU, and the modes.
SIZES = {"cpu": [(10, 50, MODES)], "cuda": [(10, 50, MODES), (200, 500, LARGE_BATCH_MODES)]}


def measure_modes(device: str, what: str, images: int, modes: dict[str, tuple[bool, bool]]) -> list[Row]:
    """Return a row for each mode; the modes take turns, and the fastest turn of each counts."""
    work, make_model = WORK[what]
    functions = []
    for half, compiled in modes.values():
        model, context = make_model().to(device), torch.autocast(device, torch.bfloat16, enabled=half)
        if compiled:
            model.compile(dynamic=True if work is beam_search else None)  # as bua predict and train do
        with context:
            function, words = work(model, random_regions(images).to(device), device)
        functions.append(synchronized(context(function), device))
    seconds = fastest_seconds(functions, 5 if device == "cpu" else 20)
    return compare_modes(f"{what} on {DEVICE_NAMES[device]}, {images} images", modes, words, "words", seconds)


def compare_modes(
    what: str, modes: Iterable[str], count: int, unit: str, seconds: list[float], digits: int = 0
) -> list[Row]:
    """Return a row for each mode, with its throughput and its speed relative to the first."""
    values = [f"{count / s:,.{digits}f} {unit}/s ({seconds[0] / s:.2f} times float32)" for s in seconds]
    return [
        {"what": f"{what}, {mode}", "value": value, "target": ""}
        for mode, value in zip(modes, values, strict=True)
    ]


def measure_compiled(device: str) -> list[Row]:
    """Measure everything in this module on a device."""
    return [
        row
        for train_images, search_images, modes in SIZES[device]
        for what, (work, _) in WORK.items()
        for row in measure_modes(device, what, search_images if work is beam_search else train_images, modes)
    ]
