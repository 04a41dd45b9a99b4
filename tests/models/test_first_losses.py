"""First losses of every captioner, as recorded."""

import json

import pytest
import torch
from torch.nn import functional as F

from tests.models.zoo import CAPTIONERS, captioner, some_regions, some_words
from tests.parity import ROOT

GOLDEN = json.loads((ROOT / "tests" / "golden" / "losses.json").read_text())["captioners"]


def first_losses(kind: str) -> list[float]:
    """Return the losses of five steps, without dropout."""
    model, regions, words = captioner(kind), some_regions(), some_words(length=6)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        logits = model(regions, words[..., :-1])
        loss = F.cross_entropy(logits.flatten(0, 2), words[..., 1:].flatten())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_there_are_losses_of_every_captioner() -> None:
    assert set(GOLDEN) == set(CAPTIONERS)


@pytest.mark.parametrize("kind", CAPTIONERS)
def test_the_first_losses_are_golden(kind: str) -> None:
    """A change of these numbers is a change of behaviour: say why where you change the file."""
    assert first_losses(kind) == pytest.approx(GOLDEN[kind], rel=1e-3)
