"""The order of questions: pairs stay together, in one batch of one process, in every epoch anew."""

import pytest
import torch
from bua.data.vqa.files.read import read_questions
from hypothesis import given
from hypothesis import strategies as st

from bua.data.sampler import EpochSampler, PairSampler, ResumableLoader
from bua.errors import InputError
from tests.data.test_vqa_files import written
from tests.helpers.data import vqa_data


def order(sampler: EpochSampler, epoch: int) -> list[int]:
    sampler.set_epoch(epoch)
    return list(sampler)


PAIRED = st.integers(0, 12).flatmap(
    lambda pairs: st.integers(max(1, 2 * pairs), 2 * pairs + 9).flatmap(
        lambda count: st.permutations(range(count)).map(
            lambda ids: (count, torch.tensor(ids[: 2 * pairs]).view(-1, 2).long())
        )
    )
)


@given(
    paired=PAIRED,
    seed=st.integers(0, 3),
    epoch=st.integers(0, 3),
    ranks=st.integers(1, 3),
    half=st.integers(1, 4),
)
def test_both_questions_of_a_pair_are_in_one_batch_of_one_rank(paired, seed, epoch, ranks, half) -> None:
    count, pairs = paired
    shares = [
        order(PairSampler(count, pairs=pairs, seed=seed, rank=rank, ranks=ranks), epoch)
        for rank in range(ranks)
    ]
    batches = [set(share[n : n + 2 * half]) for share in shares for n in range(0, len(share), 2 * half)]
    for pair in pairs.tolist():
        assert any(set(pair) <= batch for batch in batches)
    every = [n for share in shares for n in share]
    assert set(every) == set(range(count))
    assert ranks > 1 or len(every) == count
    sampler = PairSampler(count, pairs=pairs, seed=seed, ranks=ranks)
    assert {len(share) for share in shares} == {len(sampler)}
    assert len(every) < count + 2 * ranks + 1


def test_pairs_come_in_another_order_and_singles_in_other_company_every_epoch() -> None:
    sampler = PairSampler(40, pairs=torch.arange(20).view(-1, 2), seed=0)
    orders = {tuple(order(sampler, epoch)) for epoch in range(5)}
    assert len(orders) == 5
    assert order(sampler, 3) == order(PairSampler(40, pairs=torch.arange(20).view(-1, 2), seed=0), 3)
    company = {frozenset(one[n : n + 2]) for one in orders for n in range(0, 40, 2)}
    assert len(company) > 30  # 10 are the pairs


@pytest.mark.parametrize("given_batches", [0, 1, 3])
def test_pairs_go_on_in_the_middle_of_an_epoch(given_batches: int) -> None:
    def loader() -> ResumableLoader:
        sampler = PairSampler(19, pairs=torch.arange(8).view(-1, 2), seed=4)
        return ResumableLoader(range(19), sampler=sampler, batch_size=4)

    whole, first, second = [batch.tolist() for batch in loader()], loader(), loader()
    running = iter(first)
    before = [next(running).tolist() for _ in range(given_batches)]
    second.load_state_dict(first.state_dict())
    assert before + [batch.tolist() for batch in second] == whole


def test_pairs_of_a_file_stay_together(scenes, tmp_path) -> None:
    ids = [q.question_id for q in read_questions(scenes / "questions_train.json")]
    pairs = list(zip(ids[:40:2], ids[40:80:2], strict=True))
    data = vqa_data(scenes, pairs=written(tmp_path, "p.json", pairs), batch_size=6)
    batches = [set(batch.question_id) for batch in data.train_dataloader()]
    assert all(any({*pair} <= batch for batch in batches) for pair in pairs)
    assert data.sources["pairs"] == str(tmp_path / "p.json")
    with pytest.raises(InputError, match="batch_size=9: an even number is needed for pairs"):
        vqa_data(scenes, pairs=str(tmp_path / "p.json"))
