"""All VQA models of conf/model are built at their size; the small ones are trained for a step."""

import pytest
import torch
from torch.nn import functional as F

from bua.structures.region_batch import RegionBatch
from tests.helpers.configurations import MODELS, build_model, target
from tests.helpers.configurations import linear_parameters as layer
from tests.helpers.parity import ROOT

VQA_MODELS = [name for name in MODELS if target(name).startswith("bua.models.vqa.")]
SMALL = [name for name in VQA_MODELS if name.endswith("_small")]
WORDS, ANSWERS = 13000, 3129


def model(name: str, *overrides: str) -> torch.nn.Module:
    return build_model(name, *overrides, feature_size=2048, vocabulary_size=WORDS, answers=ANSWERS)


def batch() -> tuple[RegionBatch, torch.Tensor]:
    mask = torch.tensor([[True] * 12, [True] * 11 + [False]])
    words = torch.tensor([[0] * 8 + [4, 5, 6, 7, 8, 9], [0] * 10 + [9, 8, 7, 6]])
    return RegionBatch(torch.rand(2, 12, 2048), mask, torch.rand(2, 12, 4)), words


def parameters(name: str, *overrides: str) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in model(name, *overrides).parameters())


def test_there_are_small_and_large_configurations_of_every_vqa_model() -> None:
    assert len(SMALL) >= 8
    assert sorted(VQA_MODELS) == sorted(SMALL + [name.removesuffix("_small") for name in SMALL])
    files = (ROOT / "bua" / "models" / "vqa").glob("*.py")
    modules = {file.stem for file in files if "VQAModel(nn.Module)" in file.read_text()}
    assert {target(name).split(".")[-2] for name in VQA_MODELS} == modules


@pytest.mark.parametrize("name", VQA_MODELS)
def test_vqa_model_runs_at_its_size(name: str) -> None:
    with torch.device("meta"):
        logits, weights = model(name)(*batch())
    assert logits.shape == (2, ANSWERS)
    assert weights.shape == (2, 12)


@pytest.mark.parametrize("name", SMALL)
def test_small_vqa_model_learns_from_a_step(name: str) -> None:
    torch.manual_seed(0)
    vqa_model, (regions, words) = model(name).eval(), batch()
    targets = torch.zeros(2, ANSWERS)
    targets[[0, 1], [3, 4]] = 1
    optimizer = torch.optim.Adam(vqa_model.parameters(), lr=1e-3)
    losses = []
    for _ in range(2):
        losses.append(F.binary_cross_entropy_with_logits(vqa_model(regions, words)[0], targets))
        losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[1] < losses[0]
    assert 2 * parameters(name) < parameters(name.removesuffix("_small"))


def test_a_counter_can_be_configured_on_the_command_line() -> None:
    counter = "model.counter={_target_: bua.models.vqa.counting.Counter, objects: 10}"
    assert parameters("updown_hu", counter) == parameters("updown_hu") + 8 * 17 + normed(11, 1024)


def normed(inputs: int, outputs: int) -> int:
    return layer(inputs, outputs) + 1


def recurrent(inputs: int, outputs: int, gates: int) -> int:
    return layer(inputs, gates * outputs) + layer(outputs, gates * outputs)


def classifier(inputs: int, hidden: int) -> int:
    return normed(inputs, hidden) + normed(hidden, ANSWERS)


def updown_hu() -> int:
    attention = normed(2048, 1024) + normed(1024, 1024) + normed(1024, 1)
    question = WORDS * 300 + recurrent(300, 1024, 3)
    return question + attention + normed(1024, 1024) + normed(2048, 1024) + classifier(1024, 2048)


def updown_openvqa() -> int:
    attention = normed(2048, 2048) + normed(1024, 1024) + normed(3072, 1024) + normed(1024, 1)
    question = WORDS * 300 + recurrent(300, 1024, 4)
    return question + attention + normed(1024, 1024) + normed(2048, 1024) + classifier(1024, 2048)


def updown_teney() -> int:
    attention = 2 * layer(2560, 512) + layer(512, 1)
    question = WORDS * 300 + recurrent(300, 512, 3)
    streams = 2 * layer(512, 300) + 2 * layer(512, 2048) + ANSWERS * (300 + 2048)
    return question + attention + 2 * layer(512, 512) + 2 * layer(2048, 512) + streams


def ban() -> int:
    question = 2 * WORDS * 300 + recurrent(600, 1280, 3)
    attention = normed(2048, 3840) + normed(1280, 3840) + normed(3840, 8)
    glimpse = normed(2048, 1280) + 2 * normed(1280, 1280) + normed(11, 1280)
    return question + attention + 8 * glimpse + 8 * 17 + classifier(1280, 2560)


def mcan() -> int:
    attention, feed_forward = 4 * layer(512, 512), layer(512, 2048) + layer(2048, 512)
    words = 6 * (attention + feed_forward + 2 * 1024)
    regions = 6 * (2 * attention + feed_forward + 3 * 1024)
    flatten = 2 * (layer(512, 512) + layer(512, 1) + layer(512, 1024))
    out = 2 * 1024 + layer(1024, ANSWERS)
    return WORDS * 300 + recurrent(300, 512, 4) + layer(2048, 512) + words + regions + flatten + out


@pytest.mark.parametrize(
    "count", [updown_hu, updown_openvqa, updown_teney, ban, mcan], ids=lambda f: f.__name__
)
def test_published_sizes_have_as_many_parameters_as_their_layers(count) -> None:
    assert parameters(count.__name__) == count()
