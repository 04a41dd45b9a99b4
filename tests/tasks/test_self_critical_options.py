"""Options of self-critical training are checked, and the signature describes the rewards."""

import logging

import pytest

from bua.decode import BeamSearch, DiverseBeamSearch, Rules, Sampling
from bua.tasks.self_critical import BASELINES, Reward
from tests.helpers.data import caption_data
from tests.helpers.tasks import self_critical_task


def test_signature_is_logged_and_saved(scenes, tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO)
    task = self_critical_task(caption_data(scenes))
    task.save(tmp_path)
    assert f"rewards: {task.signature}" in caplog.messages
    assert (tmp_path / "rewards.txt").read_text() == f"{task.signature}\n"


def test_signature_names_everything_that_rewards_depend_on(scenes) -> None:
    data = caption_data(scenes)
    signature = self_critical_task(data).signature
    assert signature.startswith(
        "1*CIDEr-D | with EOS | Sampling num_samples=4 max_length=12 | baseline leave_one_out | "
        "frequencies of 24 images, "
    )
    other = self_critical_task(
        data, reward=Reward(1, 0.5, include_eos=False), sampler=BeamSearch(5, 9), baseline="mean"
    )
    assert other.signature.startswith(
        "1*CIDEr-D+0.5*BLEU-4 | without EOS | BeamSearch beam_size=5 max_length=9 | baseline mean"
    )
    ruled = self_critical_task(data, sampler=Sampling(4, 12, rules=Rules(bad_endings=("a", "no such word"))))
    assert "Sampling num_samples=4 max_length=12 rules.bad_endings=a,no such word |" in ruled.signature
    assert signature.split(", ")[-1] != other.signature.split(", ")[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": "none"}, "baseline must be one of greedy, mean, leave_one_out, got 'none'"),
        (
            {"sampler": Sampling(1, 5)},
            r"'leave_one_out' needs sampler.num_samples \(or beam_size\) of at least 2",
        ),
        (
            {"sampler": BeamSearch(1, 5), "baseline": "mean"},
            r"'mean' needs sampler.num_samples \(or beam_size\) of at least 2",
        ),
    ],
)
def test_invalid_options_are_rejected(options, message, scenes) -> None:
    with pytest.raises(ValueError, match=message):
        self_critical_task(caption_data(scenes), **options)


EQUAL_TO_BASELINE = [
    ({"sampler": BeamSearch(1, 5), "baseline": "greedy"}, "'greedy' is the caption that one beam finds"),
    (
        {"sampler": BeamSearch(1, 5, "compete"), "baseline": "greedy"},
        r"sampler.num_samples \(or beam_size\) of at least 2, is needed",
    ),
    ({"sampler": DiverseBeamSearch(1, 1), "baseline": "greedy"}, "'greedy' is the caption that one beam"),
    *(
        ({"sampler": Sampling(4, 5, top_k=1), "baseline": name}, "sampler.top_k must be at least 2: with 1")
        for name in BASELINES
    ),
]


@pytest.mark.parametrize(("options", "message"), EQUAL_TO_BASELINE)
def test_samplers_that_cannot_differ_from_the_baseline_are_rejected(options, message, scenes) -> None:
    with pytest.raises(ValueError, match=message):
        self_critical_task(caption_data(scenes), **options)


@pytest.mark.parametrize("sampler", [Sampling(1, 5), Sampling(1, 5, top_k=2), BeamSearch(2, 5)])
def test_samplers_that_can_differ_from_the_greedy_caption_are_accepted(sampler, scenes) -> None:
    assert self_critical_task(caption_data(scenes), sampler=sampler, baseline="greedy").sampler == sampler


@pytest.mark.parametrize("weights", [(0, 0), (-1, 0), (1, float("nan")), ("abc", 0)], ids=str)
def test_invalid_reward_weights_are_rejected(weights) -> None:
    with pytest.raises(ValueError, match="a number of at least 0|must be above 0"):
        Reward(*weights)
