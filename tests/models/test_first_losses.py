"""Golden values of the first losses of all captioners and VQA models."""

import json

import pytest
import torch
from torch.nn import functional as F

from tests.helpers.models import CAPTIONERS, VQA_MODELS, captioner, random_regions, random_words, vqa_model
from tests.helpers.parity import ROOT

GOLDEN = json.loads((ROOT / "tests" / "golden" / "losses.json").read_text())


def first_losses(model, loss_of) -> list[float]:
    """Return the losses of five steps, without dropout."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def caption_loss(model):
    words = random_words(length=6)
    logits = model(random_regions(), words[..., :-1])
    return F.cross_entropy(logits.flatten(0, 2), words[..., 1:].flatten())


def answer_loss(model):
    logits, _ = model(random_regions(), random_words(sequences=1, length=6)[:, 0])
    targets = torch.linspace(0, 1, logits.numel()).view_as(logits)
    return F.binary_cross_entropy_with_logits(logits, targets)


def test_there_are_golden_losses_of_every_model() -> None:
    assert set(GOLDEN["captioners"]) == set(CAPTIONERS)
    assert set(GOLDEN["vqa_models"]) == set(VQA_MODELS)


@pytest.mark.parametrize("kind", CAPTIONERS)
def test_the_first_losses_of_a_captioner_are_golden(kind: str) -> None:
    """A change of these numbers is a change of behavior: explain it in the commit that changes the file."""
    assert first_losses(captioner(kind), caption_loss) == pytest.approx(GOLDEN["captioners"][kind], rel=1e-3)


@pytest.mark.parametrize("kind", VQA_MODELS)
def test_the_first_losses_of_a_vqa_model_are_golden(kind: str) -> None:
    """As above."""
    assert first_losses(vqa_model(kind), answer_loss) == pytest.approx(GOLDEN["vqa_models"][kind], rel=1e-3)
