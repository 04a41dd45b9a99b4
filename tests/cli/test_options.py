"""Invalid options of decoding, training and rewards are reported in one line."""

import os
from pathlib import Path

import pytest

from bua.cli import main
from bua.cli.main import COMMANDS
from tests.helpers.commands import run_error, run_ok

SIZES = ["model.word_size=8", "model.hidden_size=12", "model.attention_size=6"]


@pytest.fixture(scope="module")
def run(scenes, tmp_path_factory) -> Path:
    """Return the run of a captioner that was trained for one step."""
    out = tmp_path_factory.mktemp("run") / "captioner"
    steps = ["trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.accelerator=cpu"]
    run_ok("train", "experiment=caption_scenes", f"scenes={scenes}", f"out={out}", *SIZES, *steps)
    return out


DECODE = [
    (["decode.beam_size=2.5"], "beam_size must be an integer of at least 1, got 2.5"),
    (["decode.beam_size=true"], "beam_size must be an integer of at least 1, got True"),
    (["decode.max_length=many"], "max_length must be an integer of at least 1, got many"),
    (["decode.finished=never"], "finished must be retire or compete, got 'never'"),
    (["decode.finished=3"], "finished must be retire or compete, got 3"),
    (
        ["decode.length_penalty.alpha=x"],
        "length_penalty.alpha must be a number of at least 0 and at most 10, got x",
    ),
    (["decode.length_penalty.alpha=null"], "length_penalty.alpha must be a number of at least 0"),
    (
        ["decode.length_penalty.rule=mean"],
        "length_penalty.rule must be one of none, average, wu, got 'mean'",
    ),
    (["decode.length_penalty=null"], "length_penalty must be a LengthPenalty, got None"),
    (["decode.rules=null"], "rules must be a Rules, got None"),
    (
        ["decode.rules.no_repeat_ngram_size=1.5"],
        "no_repeat_ngram_size must be an integer of at least 0, got 1.5",
    ),
    (["decode.rules.min_length=two"], "min_length must be an integer of at least 0, got two"),
    (["decode.rules.allow_repeat=maybe"], "allow_repeat must be true or false, got maybe"),
    (["decode.rules.bad_words=cat"], "bad_words must be a list of words, got cat"),
    (["decode.rules.bad_endings=[[a]]"], "bad_endings must be a list of words, got [['a']]"),
    (["decode=sample", "decode.top_k=2.5"], "top_k must be an integer of at least 1, got 2.5"),
    (["decode=sample", "decode.top_p=2"], "top_p must be a number above 0 and at most 1, got 2"),
    (["decode=sample", "decode.temperature=hot"], "temperature must be a number above 0, got hot"),
    (["decode=sample", "decode.temperature=.inf"], "temperature must be a number above 0, got .inf"),
    (["decode=diverse", "decode.num_groups=4"], "beam_size=6 must be a multiple of num_groups=4"),
    (["decode=diverse", "decode.num_groups=0"], "num_groups must be an integer of at least 1, got 0"),
    (
        ["decode=diverse", "decode.diversity_penalty=x"],
        "diversity_penalty must be a number of at least 0, got x",
    ),
    (["decode=diverse", "decode.finished=never"], "finished must be retire or compete, got 'never'"),
    (["compile=perhaps"], "compile=perhaps: must be true or false"),
]
REWARDS = [
    (["objective.reward.cider_d=abc"], "cider_d must be a number of at least 0, got abc"),
    (["objective.reward.bleu_4=-1"], "bleu_4 must be a number of at least 0, got -1"),
    (["objective.reward.cider_d=0"], "cider_d or bleu_4 must be above 0, or there is no reward"),
    (["objective.reward.include_eos=perhaps"], "include_eos must be true or false, got perhaps"),
    (["objective.reward=null"], "reward must be a Reward, got None"),
    (["objective.sampler.top_p=2"], "top_p must be a number above 0 and at most 1, got 2"),
    (["objective.sampler.num_samples=1"], "needs sampler.num_samples (or beam_size) of at least 2"),
    (["objective.sampler=null"], "sampler must be a BeamSearch, DiverseBeamSearch or Sampling, got None"),
    (["objective.baseline=best"], "baseline must be one of greedy, mean, leave_one_out, got 'best'"),
    (["objective.baseline=[mean]"], "baseline must be one of greedy, mean, leave_one_out, got ['mean']"),
]
CROSS_ENTROPY = [
    (["objective.reduction.scale=null"], "reduction.scale must be a number above 0, got None"),
    (["objective.reduction.per=batch"], "per must be one of word, caption, caption_mean, got 'batch'"),
    (["objective.reduction.per=[word]"], "per must be one of word, caption, caption_mean, got ['word']"),
    (["objective.reduction=null"], "reduction must be a LossReduction, got None"),
    (
        ["objective.label_smoothing=abc"],
        "label_smoothing must be a number of at least 0 and below 1, got abc",
    ),
    (["objective.label_smoothing=1"], "label_smoothing must be a number of at least 0 and below 1, got 1"),
    (["objective.ignore_unknown=1"], "ignore_unknown must be true or false, got 1"),
    (["objective.sampling.max_prob=2"], "max_prob must be a number of at least 0 and at most 1, got 2"),
    (["objective.sampling.every_n_epochs=0.5"], "every_n_epochs must be an integer of at least 1, got 0.5"),
    (["objective.sampling=null"], "sampling must be a ScheduledSampling, got None"),
    (["objective.decoder.beam_size=2.5"], "beam_size must be an integer of at least 1, got 2.5"),
    (["objective.decoder=null"], "decoder must be a BeamSearch, DiverseBeamSearch or Sampling, got None"),
    (["data.geometry=abc"], "geometry must be a number above 0, got abc"),
    (["data.geometry=[1]"], "geometry must be a number above 0, got [1]"),
    (["data.geometry=inf"], "geometry must be a number above 0, got inf"),
    (["data.num_workers=-1"], "num_workers must be an integer of at least 0, got -1"),
    (["data.batch_size=0"], "batch_size must be an integer of at least 1, got 0"),
    (["data.max_length=0"], "max_length must be an integer of at least 1, got 0"),
    (["data.captions_per_image=0"], "captions_per_image must be an integer of at least 1, got 0"),
]
VQA = [
    (["callbacks.ema.decay=x"], "callbacks.ema.decay=x: must be a number between 0 and 1"),
    (["callbacks.ema.decay=true"], "callbacks.ema.decay=True: must be a number between 0 and 1"),
    (
        ["callbacks.early_stopping.patience=-1"],
        "callbacks.early_stopping.patience=-1: must be a number of validations",
    ),
    (["callbacks.last.every_n_steps=0"], "every_n_steps=0: must be a number of steps"),
    (["data.geometry=x"], "geometry must be a number above 0, got x"),
    (["data.geometry=nan"], "geometry must be a number above 0, got nan"),
    (["data.num_workers=-1"], "num_workers must be an integer of at least 0, got -1"),
    (["data.questions.min_count=0"], "questions.min_count must be an integer of at least 1, got 0"),
    (["objective.missing_words=foo"], "objective.missing_words=foo: must be one of zeros, random"),
    (["model=ban_small", "model.glimpses=0"], "glimpses must be an integer of at least 1, got 0"),
]


def test_mistakes_of_every_kind_are_listed() -> None:
    assert min(map(len, (DECODE, REWARDS, CROSS_ENTROPY, VQA))) >= 10
    assert {"predict", "train"} <= set(COMMANDS)


@pytest.mark.parametrize(("overrides", "message"), DECODE, ids=str)
def test_invalid_decoding_options_are_reported_in_one_line(overrides, message, run, capfd, tmp_path) -> None:
    capfd.readouterr()
    line = run_error(capfd, "predict", f"run={run}", "split=val", f"out={tmp_path}/p.json", *overrides)
    assert message in line


@pytest.mark.parametrize(("overrides", "message"), CROSS_ENTROPY, ids=str)
def test_invalid_options_of_cross_entropy_are_reported_in_one_line(
    overrides, message, scenes, capfd, tmp_path
) -> None:
    capfd.readouterr()
    command = ["train", "experiment=caption_scenes", f"scenes={scenes}", f"out={tmp_path}/r", *SIZES]
    assert message in run_error(capfd, *command, *overrides)


@pytest.mark.parametrize(("overrides", "message"), REWARDS, ids=str)
def test_invalid_options_of_rewards_are_reported_in_one_line(
    overrides, message, run, scenes, capfd, tmp_path
) -> None:
    capfd.readouterr()
    command = ["train", "experiment=caption_scenes", f"scenes={scenes}", f"out={tmp_path}/r", *SIZES]
    rewards = ["objective=self_critical", f"init_from={run}", "scheduler=constant"]
    assert message in run_error(capfd, *command, *rewards, *overrides)


@pytest.mark.parametrize(("overrides", "message"), VQA, ids=str)
def test_invalid_options_of_vqa_training_are_reported_in_one_line(
    overrides, message, scenes, capfd, tmp_path
) -> None:
    capfd.readouterr()
    command = ["train", "experiment=vqa_scenes", f"scenes={scenes}", f"out={tmp_path}/r"]
    line = run_error(capfd, *command, *overrides, "model.word_size=8", "model.hidden_size=12")
    assert message in line


@pytest.mark.parametrize(
    ("environment", "count"),
    [({}, "5000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_idle_threads_sleep_soon_unless_the_environment_sets_it(
    environment, count, monkeypatch, capsys
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["score"]) == 2  # its mandatory keys are missing
    assert os.environ.get("GOMP_SPINCOUNT") == count
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
