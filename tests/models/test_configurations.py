"""All captioners of conf/model are built at their size; the small ones are trained for a step."""

import pytest
import torch
from torch.nn import functional as F

from bua.structures.region_batch import RegionBatch
from tests.helpers.configurations import MODELS, build_model, target
from tests.helpers.configurations import linear_parameters as layer
from tests.helpers.parity import ROOT

CAPTIONERS = [name for name in MODELS if target(name).startswith("bua.models.captioners.")]
SMALL = [name for name in CAPTIONERS if name.endswith("_small")]


def model(name: str) -> torch.nn.Module:
    return build_model(name, feature_size=2048, vocabulary_size=9488)


def batch() -> tuple[RegionBatch, torch.Tensor]:
    mask = torch.tensor([[True] * 3, [True] * 2 + [False]])
    words = torch.ones(2, 2, 4, dtype=torch.long)
    return RegionBatch(torch.rand(2, 3, 2048), mask, torch.rand(2, 3, 4)), words


def parameters(name: str) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in model(name).parameters())


def test_there_are_small_and_large_configurations_of_every_captioner() -> None:
    assert len(SMALL) >= 7
    assert sorted(CAPTIONERS) == sorted(SMALL + [name.removesuffix("_small") for name in SMALL])
    classes = {target(name) for name in CAPTIONERS}
    files = (ROOT / "bua" / "models" / "captioners").glob("*.py")
    texts = {file.stem: file.read_text() for file in files}
    modules = {name for name, text in texts.items() if "Captioner(" in text and "@abstract" not in text}
    assert {name.split(".")[-2] for name in classes} == modules


@pytest.mark.parametrize("name", CAPTIONERS)
def test_captioner_runs_at_its_size(name: str) -> None:
    with torch.device("meta"):
        logits = model(name)(*batch())
    assert logits.shape == (2, 2, 4, 9488)


@pytest.mark.parametrize("name", SMALL)
def test_small_captioner_learns_from_a_step(name: str) -> None:
    torch.manual_seed(0)
    captioner, (regions, words) = model(name), batch()
    optimizer = torch.optim.Adam(captioner.parameters(), lr=1e-3)
    losses = []
    for _ in range(2):
        captioner.eval()
        losses.append(F.cross_entropy(captioner(regions, words).flatten(0, 2), words.flatten()))
        losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[1] < losses[0]
    assert 2 * parameters(name) < parameters(name.removesuffix("_small"))


def updown() -> int:
    attention = layer(1000, 512) + layer(1000, 512) + layer(512, 1)
    cells = layer(4000, 4000, 2) + layer(3000, 4000, 2)
    return 9488 * 1000 + 2 * layer(2048, 1000) + attention + cells + layer(1000, 9488)


def updown_caffe() -> int:
    attention = layer(2048, 512, 0) + layer(1000, 512, 0) + layer(512, 1, 0)
    cells = layer(5048, 4000) + layer(4048, 4000)
    return 9488 * 1000 + attention + cells + layer(1000, 9488)


def att2in() -> int:
    attention = 2 * layer(512, 512) + layer(512, 1)
    cell = layer(512, 5 * 512) + layer(512, 5 * 512, 0) + layer(512, 2 * 512, 0)
    return 9488 * 512 + layer(2048, 512) + attention + cell + layer(512, 9488)


def transformer() -> int:
    attention, feed_forward = 4 * layer(512, 512), layer(512, 2048) + layer(2048, 512)
    encoder = 6 * (attention + feed_forward + 2 * 1024) + 1024
    decoder = 6 * (2 * attention + feed_forward + 3 * 1024) + 1024
    return 9488 * 512 + layer(2048, 512) + encoder + decoder + layer(512, 9488)


@pytest.mark.parametrize("count", [updown, updown_caffe, att2in, transformer], ids=lambda f: f.__name__)
def test_published_sizes_have_as_many_parameters_as_their_layers(count) -> None:
    assert parameters(count.__name__) == count()
