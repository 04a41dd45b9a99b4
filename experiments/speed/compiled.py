"""Measure mixed precision and torch.compile of captioners, on the processor or a GPU.

Compiling itself, a minute or two for each row, does not count.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from captioning import (
    NAMES,
    SAID,
    WORDS,
    Ending,
    Row,
    captioner,
    fastest,
    finished,
    learning,
    random_regions,
    self_critical,
)
from torch.nn import functional as F

from bua.decode import BeamSearch
from bua.inference.generate import make_step_function
from bua.models.captioners.base import Captioner
from bua.models.captioners.transformer import TransformerCaptioner
from bua.structures.region_batch import RegionBatch

Model = Captioner[Any, Any]


def transformer() -> TransformerCaptioner:
    """Return the Transformer of self-critical.pytorch, untrained."""
    torch.manual_seed(0)
    sizes = {"model_size": 512, "feed_forward_size": 2048, "layers": 6, "heads": 8}
    options = {"dropout": 0.1, "region_dropout": 0.5, "geometry": None}
    return TransformerCaptioner(feature_size=2048, vocabulary_size=WORDS, **sizes, **options)


def training(model: Model, regions: RegionBatch, device: str) -> tuple[Callable[[], Any], int]:
    """Return a step of cross-entropy of 5 captions an image, and how many words it reads."""
    words = torch.randint(4, WORDS, (len(regions.features), 5, SAID + 1), device=device)

    def step() -> None:
        logits = model(regions, words[..., :-1]).float()
        F.cross_entropy(logits.flatten(0, 2), words[..., 1:].flatten()).backward()
        model.zero_grad()

    return step, words[..., 1:].numel()


def rewarding(model: Model, regions: RegionBatch, device: str) -> tuple[Callable[[], Any], int]:
    """Return a self-critical step of 5 samples an image, and how many words it says."""
    task, batch = self_critical(model, regions)
    return learning(task, batch), len(regions.features) * 5 * SAID


def searching(model: Model, regions: RegionBatch, device: str) -> tuple[Callable[[], Any], int]:
    """Return a beam search, and how many words its captions have."""
    ending, images = Ending(model.eval()), len(regions.features)

    @torch.no_grad()
    def search() -> Any:
        return BeamSearch(5, 20)(*make_step_function(ending, regions), images=images, device=device)

    return search, int((search().words[:, 0] != 0).sum())


#: What is done and with which captioner.
WORK: dict[str, tuple[Callable[..., Any], Callable[[], Model]]] = {
    "cross-entropy step of Up-Down": (training, captioner),
    "cross-entropy step of the Transformer": (training, transformer),
    "self-critical step of Up-Down": (rewarding, captioner),
    "beam search of Up-Down": (searching, captioner),
    "beam search of the Transformer": (searching, transformer),
}
#: Half precision, compiled.
WAYS = {"as it is": (False, False), "compiled": (False, True), "bf16": (True, False)} | {
    "bf16, compiled": (True, True)
}
HALF = {way: how for way, how in WAYS.items() if way != "compiled"}
#: Images of a training step, as in the recipes and as a GPU has room for, those of a search, and the ways.
SIZES = {"cpu": [(10, 50, WAYS)], "cuda": [(10, 50, WAYS), (200, 500, HALF)]}


def rows(device: str, what: str, images: int, ways: dict[str, tuple[bool, bool]]) -> list[Row]:
    """Return one row for each way of doing the same; the ways take turns, and the fastest turn counts."""
    work, make = WORK[what]
    functions = []
    for half, compiled in ways.values():
        model, context = make().to(device), torch.autocast(device, torch.bfloat16, enabled=half)
        if compiled:
            model.compile(dynamic=True if work is searching else None)  # as bua predict and train do
        with context:
            function, words = work(model, random_regions(images).to(device), device)
        functions.append(finished(context(function), device))
    took = fastest(functions, 5 if device == "cpu" else 20)
    return compared(f"{what} on {NAMES[device]}, {images} images", ways, words, "words", took)


def compared(
    what: str, ways: Iterable[str], count: int, unit: str, took: list[float], digits: int = 0
) -> list[Row]:
    """Return a row for each way of doing the same: so many a second, and how fast against the first."""
    values = [
        f"{count / seconds:,.{digits}f} {unit}/s ({took[0] / seconds:.2f} times as fast as it is)"
        for seconds in took
    ]
    return [
        {"what": f"{what}, {way}", "value": value, "wanted": ""}
        for way, value in zip(ways, values, strict=True)
    ]


def compiling(device: str) -> list[Row]:
    """Measure everything here on a device."""
    return [
        row
        for few, many, ways in SIZES[device]
        for what, (work, _) in WORK.items()
        for row in rows(device, what, many if work is searching else few, ways)
    ]
