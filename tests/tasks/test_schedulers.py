"""Learning rate schedules follow their formulas."""

import pytest
import torch

from bua.tasks.schedulers import NoamLR


def test_noam_follows_the_formula_of_the_paper() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    schedule, rates = NoamLR(optimizer, size=16, warmup=4), []
    for _ in range(9):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    expected = [2.0 * 16**-0.5 * min(n**-0.5, n * 4**-1.5) for n in range(1, 10)]
    assert rates == pytest.approx(expected)
    assert max(rates) == rates[3]
