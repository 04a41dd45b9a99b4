"""What self-critical training may be asked for, and how it says what its rewards are."""

import logging

import pytest

from bua.decode import BeamSearch, DiverseBeamSearch, Rules, Sampling
from bua.tasks.self_critical import BASELINES, Reward
from tests.helpers.data import caption_data
from tests.tasks.test_self_critical import self_critical


def test_the_signature_is_printed_and_written(scenes, tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO)
    task = self_critical(caption_data(scenes))
    task.save(tmp_path)
    assert f"rewards: {task.signature}" in caplog.messages
    assert (tmp_path / "rewards.txt").read_text() == f"{task.signature}\n"


def test_the_signature_names_all_that_decides_a_reward(scenes) -> None:
    data = caption_data(scenes)
    one = self_critical(data).signature
    assert one.startswith(
        "1*CIDEr-D | with end | Sampling num_samples=4 max_length=12 | baseline leave_one_out | frequencies of 24 images, "
    )
    other = self_critical(data, reward=Reward(1, 0.5, end=False), sampler=BeamSearch(5, 9), baseline="mean")
    assert other.signature.startswith(
        "1*CIDEr-D+0.5*BLEU-4 | without end | BeamSearch beam_size=5 max_length=9 | baseline mean"
    )
    ruled = self_critical(data, sampler=Sampling(4, 12, rules=Rules(bad_endings=("a", "no such word"))))
    assert "Sampling num_samples=4 max_length=12 rules.bad_endings=a,no such word |" in ruled.signature
    assert one.split(", ")[-1] != other.signature.split(", ")[-1]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"baseline": "none"}, "greedy, mean, others"),
        ({"sampler": Sampling(1, 5)}, "width of at least 2"),
        ({"sampler": BeamSearch(1, 5), "baseline": "mean"}, "width of at least 2"),
    ],
)
def test_impossible_options_are_refused(wrong, said, scenes) -> None:
    with pytest.raises(ValueError, match=said):
        self_critical(caption_data(scenes), **wrong)


ALIKE = [
    ({"sampler": BeamSearch(1, 5), "baseline": "greedy"}, "'greedy' is the caption that one beam finds"),
    ({"sampler": BeamSearch(1, 5, "compete"), "baseline": "greedy"}, "width of at least 2, is needed"),
    ({"sampler": DiverseBeamSearch(1, 1), "baseline": "greedy"}, "'greedy' is the caption that one beam"),
    *(({"sampler": Sampling(4, 5, top_k=1), "baseline": name}, "top_k is 1: one word") for name in BASELINES),
]


@pytest.mark.parametrize(("wrong", "said"), ALIKE)
def test_captions_that_cannot_differ_from_their_baseline_are_refused(wrong, said, scenes) -> None:
    with pytest.raises(ValueError, match=said):
        self_critical(caption_data(scenes), **wrong)


@pytest.mark.parametrize("sampler", [Sampling(1, 5), Sampling(1, 5, top_k=2), BeamSearch(2, 5)])
def test_captions_that_can_differ_from_the_greedy_one_are_learnt_from(sampler, scenes) -> None:
    assert self_critical(caption_data(scenes), sampler=sampler, baseline="greedy").sampler == sampler


@pytest.mark.parametrize("weights", [(0, 0), (-1, 0), (1, float("nan")), ("abc", 0)], ids=str)
def test_rewards_for_nothing_are_refused(weights) -> None:
    with pytest.raises(ValueError, match="a number of at least 0|must be above 0"):
        Reward(*weights)
