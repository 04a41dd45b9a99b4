"""Pairs of questions share a batch of one process, in another order in every epoch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bua.data.datamodule import EpochSampler, PairSampler, ResumableLoader
from bua.data.vqa.files.read import read_questions
from bua.errors import InputError
from tests.helpers.data import vqa_data, write_json


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
    world_size=st.integers(1, 3),
    half_batch=st.integers(1, 4),
)
def test_pairs_share_a_batch_of_one_rank(paired, seed, epoch, world_size, half_batch) -> None:
    count, pairs = paired
    shards = [
        order(PairSampler(count, pairs=pairs, seed=seed, rank=rank, world_size=world_size), epoch)
        for rank in range(world_size)
    ]
    batch_size = 2 * half_batch
    batches = [set(shard[n : n + batch_size]) for shard in shards for n in range(0, len(shard), batch_size)]
    for pair in pairs.tolist():
        assert any(set(pair) <= batch for batch in batches)
    indices = [n for shard in shards for n in shard]
    assert set(indices) == set(range(count))
    assert world_size > 1 or len(indices) == count
    sampler = PairSampler(count, pairs=pairs, seed=seed, world_size=world_size)
    assert {len(shard) for shard in shards} == {len(sampler)}
    assert len(indices) < count + 2 * world_size + 1


def test_pairs_are_reordered_and_singles_paired_anew_in_every_epoch() -> None:
    sampler = PairSampler(40, pairs=torch.arange(20).view(-1, 2), seed=0)
    orders = {tuple(order(sampler, epoch)) for epoch in range(5)}
    assert len(orders) == 5
    assert order(sampler, 3) == order(PairSampler(40, pairs=torch.arange(20).view(-1, 2), seed=0), 3)
    neighbors = {frozenset(one[n : n + 2]) for one in orders for n in range(0, 40, 2)}
    assert len(neighbors) > 30  # 10 are the pairs


@pytest.mark.parametrize("num_yielded", [0, 1, 3])
def test_pairs_resume_within_an_epoch(num_yielded: int) -> None:
    def loader() -> ResumableLoader:
        sampler = PairSampler(19, pairs=torch.arange(8).view(-1, 2), seed=4)
        return ResumableLoader(range(19), sampler=sampler, batch_size=4)

    expected, first, second = [batch.tolist() for batch in loader()], loader(), loader()
    running = iter(first)
    before = [next(running).tolist() for _ in range(num_yielded)]
    second.skip = first.num_yielded
    assert before + [batch.tolist() for batch in second] == expected


def test_pairs_of_a_file_share_batches(scenes, tmp_path) -> None:
    ids = [q.question_id for q in read_questions(scenes / "questions_train.json")]
    pairs = list(zip(ids[:40:2], ids[40:80:2], strict=True))
    data = vqa_data(scenes, pairs=write_json(tmp_path, pairs, "p.json"), batch_size=6)
    batches = [set(batch.question_id) for batch in data.train_dataloader()]
    assert all(any({*pair} <= batch for batch in batches) for pair in pairs)
    assert data.sources["pairs"] == str(tmp_path / "p.json")
    with pytest.raises(InputError, match="data.batch_size=9: must be even for pairs to share a batch"):
        vqa_data(scenes, pairs=str(tmp_path / "p.json"))


def test_pairs_of_several_files_share_batches(scenes, tmp_path, caplog) -> None:
    caplog.set_level("INFO")
    ids = [question.question_id for question in read_questions(scenes / "questions_train.json")]
    files = [
        write_json(tmp_path, [[ids[n], ids[-1 - n]], [ids[n + 5], ids[-6 - n]]], f"{n}.json") for n in (0, 1)
    ]
    with pytest.raises(InputError, match=rf"question {ids[0]} is in pairs of two of the files"):
        vqa_data(scenes, pairs=[files[0], files[0]], batch_size=4)
    data = vqa_data(scenes, pairs=files, batch_size=4)
    batches = [set(batch.question_id) for batch in data.train_dataloader()]
    for n in (0, 1):
        assert f"{files[n]}: 2 pairs stay together" in caplog.text
        for pair in ({ids[n], ids[-1 - n]}, {ids[n + 5], ids[-6 - n]}):
            assert sum(pair <= batch for batch in batches) == 1
