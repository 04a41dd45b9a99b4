"""Learning rate schedules follow their formulas."""

import pytest
import torch

from bua.tasks.schedulers import NoamLR, OneCycleLR


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


@pytest.mark.parametrize("total_steps", [1, 2, 9, 10, 11, 20, 100])
def test_one_cycle_equals_that_of_torch_where_torch_has_one(total_steps: int) -> None:
    def rates(schedule: type) -> list[float]:
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        scheduler = schedule(
            optimizer, max_lr=1.0, total_steps=total_steps, pct_start=0.1, cycle_momentum=False
        )
        found = []
        for step in range(total_steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if step + 1 < total_steps:
                scheduler.step()
        return found

    ours = rates(OneCycleLR)
    assert ours[-1] < 1e-4
    assert max(ours) <= 1
    if total_steps != 10:
        assert ours == rates(torch.optim.lr_scheduler.OneCycleLR)
        return
    with pytest.raises(ZeroDivisionError):
        rates(torch.optim.lr_scheduler.OneCycleLR)
    assert ours[0] == pytest.approx(1)
