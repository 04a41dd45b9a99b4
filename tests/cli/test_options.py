"""Options that mean nothing end in one line, wherever they are read."""

import os
from pathlib import Path

import pytest

from bua.cli import main
from bua.cli.usage import COMMANDS
from tests.cli.test_mistakes import said

SIZES = ["model.word_size=8", "model.hidden_size=12", "model.attention_size=6"]


@pytest.fixture(scope="module")
def run(scenes, tmp_path_factory) -> Path:
    """A captioner after one step."""
    out = tmp_path_factory.mktemp("run") / "captioner"
    steps = ["trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.accelerator=cpu"]
    assert main(["train", "experiment=caption_scenes", f"scenes={scenes}", f"out={out}", *SIZES, *steps]) == 0
    return out


DECODE = [
    (["decode.beam_size=2.5"], "width=2.5: must be an integer of at least 1"),
    (["decode.beam_size=true"], "width must be an integer of at least 1, got True"),
    (["decode.max_length=many"], "max_words=many: must be an integer of at least 1"),
    (["decode.finished=never"], "finished is 'never'"),
    (["decode.finished=3"], "finished is 3"),
    (
        ["decode.length.alpha=x"],
        "alpha of a length penalty must be a number of at least 0 and at most 10, got x",
    ),
    (["decode.length.alpha=null"], "alpha of a length penalty is None"),
    (["decode.length.rule=mean"], "no length penalty 'mean'"),
    (["decode.length=null"], "length is None; a LengthPenalty is needed"),
    (["decode.rules=null"], "rules is None; a Rules is needed"),
    (["decode.rules.no_repeat_ngram_size=1.5"], "ngram must be an integer of at least 0, got 1.5"),
    (["decode.rules.min_length=two"], "min_words must be an integer"),
    (["decode.rules.allow_repeat=maybe"], "twice must be true or false, got maybe"),
    (["decode.rules.bad_words=cat"], "banned is cat; a list of words"),
    (["decode.rules.bad_endings=[[a]]"], "endings is [['a']]; a list of words"),
    (["decode=sample", "decode.top_k=2.5"], "top_k must be an integer of at least 1, got 2.5"),
    (["decode=sample", "decode.top_p=2"], "top_p must be a number above 0 and at most 1, got 2"),
    (["decode=sample", "decode.temperature=hot"], "temperature must be a number above 0, got hot"),
    (["decode=sample", "decode.temperature=.inf"], "temperature is"),
    (["decode=diverse", "decode.num_groups=4"], "width=6 must be as many beams for each of groups=4"),
    (["decode=diverse", "decode.num_groups=0"], "groups must be an integer of at least 1, got 0"),
    (["decode=diverse", "decode.diversity_penalty=x"], "strength must be a number of at least 0, got x"),
    (["decode=diverse", "decode.finished=never"], "finished is 'never'"),
    (["compile=perhaps"], "compile=perhaps: true or false"),
]
REWARDS = [
    (["objective.reward.cider_d=abc"], "cider_d must be a number of at least 0, got abc"),
    (["objective.reward.bleu_4=-1"], "bleu_4 must be a number of at least 0, got -1"),
    (["objective.reward.cider_d=0"], "rewards are for nothing"),
    (["objective.reward.include_eos=perhaps"], "end must be true or false, got perhaps"),
    (["objective.reward=null"], "reward is None; a Reward is needed"),
    (["objective.sampler.top_p=2"], "top_p must be a number above 0 and at most 1, got 2"),
    (["objective.sampler.num_samples=1"], "sampler.width of at least 2"),
    (["objective.sampler=null"], "sampler is None; a BeamSearch or"),
    (["objective.baseline=best"], "no baseline 'best'"),
    (["objective.baseline=[mean]"], "no baseline ['mean']"),
]
CROSS_ENTROPY = [
    (["objective.reduction.scale=null"], "scale of a loss must be a number above 0, got None"),
    (["objective.reduction.per=batch"], "a loss per 'batch'"),
    (["objective.reduction.per=[word]"], "a loss per ['word']"),
    (["objective.reduction=null"], "normaliser is None"),
    (
        ["objective.label_smoothing=abc"],
        "label_smoothing must be a number of at least 0 and below 1, got abc",
    ),
    (["objective.label_smoothing=1"], "label_smoothing is 1"),
    (["objective.ignore_unknown=1"], "ignore_unknown must be true or false, got 1"),
    (["objective.sampling.max_prob=2"], "most must be a number of at least 0 and at most 1, got 2"),
    (["objective.sampling.every_n_epochs=0.5"], "every must be an integer of at least 1, got 0.5"),
    (["objective.sampling=null"], "sampling is None"),
    (["objective.decoder.beam_size=2.5"], "width must be an integer of at least 1, got 2.5"),
    (["objective.decoder=null"], "decoder is None; a BeamSearch or"),
    (["data.geometry=abc"], "geometry must be a number above 0, got abc"),
    (["data.geometry=[1]"], "geometry must be a number above 0, got [1]"),
    (["data.geometry=inf"], "geometry must be a number above 0, got inf"),
    (["data.num_workers=-1"], "workers must be an integer of at least 0, got -1"),
    (["data.batch_size=0"], "batch_size=0: must be an integer of at least 1"),
    (["data.max_length=0"], "max_words=0: must be an integer of at least 1"),
    (["data.captions_per_image=0"], "captions_per_image=0: must be an integer of at least 1"),
]
ANSWERS = [
    (["ema=x"], "ema=x: a number between 0 and 1"),
    (["ema=true"], "ema=True: a number between 0 and 1"),
    (["patience=-1"], "patience=-1: a number of validations"),
    (["save_every=0"], "save_every=0: a number of steps"),
    (["data.geometry=x"], "geometry must be a number above 0, got x"),
    (["data.geometry=nan"], "geometry must be a number above 0, got nan"),
    (["data.num_workers=-1"], "workers must be an integer of at least 0, got -1"),
    (["data.questions.min_count=0"], "min_count must be an integer of at least 1, got 0"),
    (["objective.missing_words=foo"], "objective.missing_words=foo: zeros, random"),
    (["model=ban_small", "model.glimpses=0"], "glimpses must be an integer of at least 1, got 0"),
]


def test_there_are_mistakes_of_every_kind() -> None:
    assert min(map(len, (DECODE, REWARDS, CROSS_ENTROPY, ANSWERS))) >= 10
    assert {"predict", "train"} <= set(COMMANDS)


@pytest.mark.parametrize(("wrong", "message"), DECODE, ids=str)
def test_a_search_that_means_nothing_is_told_in_one_line(wrong, message, run, capfd, tmp_path) -> None:
    capfd.readouterr()
    assert message in said(capfd, "predict", f"run={run}", "split=val", f"out={tmp_path}/p.json", *wrong)


@pytest.mark.parametrize(("wrong", "message"), CROSS_ENTROPY, ids=str)
def test_a_loss_that_means_nothing_is_told_in_one_line(wrong, message, scenes, capfd, tmp_path) -> None:
    capfd.readouterr()
    common = ["train", "experiment=caption_scenes", f"scenes={scenes}", f"out={tmp_path}/r", *SIZES]
    assert message in said(capfd, *common, *wrong)


@pytest.mark.parametrize(("wrong", "message"), REWARDS, ids=str)
def test_a_reward_that_means_nothing_is_told_in_one_line(
    wrong, message, run, scenes, capfd, tmp_path
) -> None:
    capfd.readouterr()
    common = ["train", "experiment=caption_scenes", f"scenes={scenes}", f"out={tmp_path}/r", *SIZES]
    more = ["objective=self_critical", f"init_from={run}", "scheduler=constant"]
    assert message in said(capfd, *common, *more, *wrong)


@pytest.mark.parametrize(("wrong", "message"), ANSWERS, ids=str)
def test_training_on_questions_that_means_nothing_is_told_in_one_line(
    wrong, message, scenes, capfd, tmp_path
) -> None:
    capfd.readouterr()
    common = ["train", "experiment=vqa_scenes", f"scenes={scenes}", f"out={tmp_path}/r"]
    line = said(capfd, *common, *wrong, "model.word_size=8", "model.hidden_size=12")
    assert message in line


@pytest.mark.parametrize(
    ("given", "count"),
    [({}, "5000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_threads_that_wait_give_way_unless_the_user_says_otherwise(given, count, monkeypatch, capsys) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert main(["score"]) == 2  # before anything is asked of it
    assert os.environ.get("GOMP_SPINCOUNT") == count
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
