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
    (["decode.width=2.5"], "width=2.5: a whole number of at least 1"),
    (["decode.width=true"], "width is True; a whole number of at least 1"),
    (["decode.max_words=many"], "max_words=many: a whole number of at least 1"),
    (["decode.finished=never"], "finished is 'never'"),
    (["decode.finished=3"], "finished is 3"),
    (["decode.length.alpha=x"], "alpha of a length penalty is x; a number of at least 0 and at most 10"),
    (["decode.length.alpha=null"], "alpha of a length penalty is None"),
    (["decode.length.rule=mean"], "no length penalty 'mean'"),
    (["decode.length=null"], "length is None; a LengthPenalty is needed"),
    (["decode.rules=null"], "rules is None; a Rules is needed"),
    (["decode.rules.ngram=1.5"], "ngram is 1.5; a whole number of at least 0"),
    (["decode.rules.min_words=two"], "min_words is two; a whole number"),
    (["decode.rules.twice=maybe"], "twice is maybe; true or false"),
    (["decode.rules.banned=cat"], "banned is cat; a list of words"),
    (["decode.rules.endings=[[a]]"], "endings is [['a']]; a list of words"),
    (["decode=sample", "decode.top_k=2.5"], "top_k is 2.5; a whole number of at least 1"),
    (["decode=sample", "decode.top_p=2"], "top_p is 2; a number above 0 and at most 1"),
    (["decode=sample", "decode.temperature=hot"], "temperature is hot; a number above 0"),
    (["decode=sample", "decode.temperature=.inf"], "temperature is"),
    (["decode=diverse", "decode.groups=4"], "width=6 must be as many beams for each of groups=4"),
    (["decode=diverse", "decode.groups=0"], "groups is 0; a whole number of at least 1"),
    (["decode=diverse", "decode.strength=x"], "strength is x; a number of at least 0"),
    (["decode=diverse", "decode.finished=never"], "finished is 'never'"),
    (["compile=perhaps"], "compile=perhaps: true or false"),
]
REWARDS = [
    (["objective.reward.cider_d=abc"], "cider_d is abc; a number of at least 0"),
    (["objective.reward.bleu_4=-1"], "bleu_4 is -1; a number of at least 0"),
    (["objective.reward.cider_d=0"], "rewards are for nothing"),
    (["objective.reward.end=perhaps"], "end is perhaps; true or false"),
    (["objective.reward=null"], "reward is None; a Reward is needed"),
    (["objective.sampler.top_p=2"], "top_p is 2; a number above 0 and at most 1"),
    (["objective.sampler.width=1"], "sampler.width of at least 2"),
    (["objective.sampler=null"], "sampler is None; a BeamSearch or"),
    (["objective.baseline=best"], "no baseline 'best'"),
    (["objective.baseline=[mean]"], "no baseline ['mean']"),
]
CROSS_ENTROPY = [
    (["objective.normaliser.scale=null"], "scale of a loss is None; a number above 0"),
    (["objective.normaliser.per=batch"], "a loss per 'batch'"),
    (["objective.normaliser.per=[word]"], "a loss per ['word']"),
    (["objective.normaliser=null"], "normaliser is None"),
    (["objective.label_smoothing=abc"], "label_smoothing is abc; a number of at least 0 and below 1"),
    (["objective.label_smoothing=1"], "label_smoothing is 1"),
    (["objective.ignore_unknown=1"], "ignore_unknown is 1; true or false"),
    (["objective.sampling.most=2"], "most is 2; a number of at least 0 and at most 1"),
    (["objective.sampling.every=0.5"], "every is 0.5; a whole number of at least 1"),
    (["objective.sampling=null"], "sampling is None"),
    (["objective.decoder.width=2.5"], "width is 2.5; a whole number of at least 1"),
    (["objective.decoder=null"], "decoder is None; a BeamSearch or"),
    (["data.geometry=abc"], "geometry is abc; a number above 0"),
    (["data.geometry=[1]"], "geometry is [1]; a number above 0"),
    (["data.geometry=inf"], "geometry is inf; a number above 0"),
    (["data.workers=-1"], "workers is -1; a whole number of at least 0"),
    (["data.batch_size=0"], "batch_size=0: a whole number of at least 1"),
    (["data.max_words=0"], "max_words=0: a whole number of at least 1"),
    (["data.captions_each=0"], "captions_each=0: a whole number of at least 1"),
]
ANSWERS = [
    (["ema=x"], "ema=x: a number between 0 and 1"),
    (["ema=true"], "ema=True: a number between 0 and 1"),
    (["patience=-1"], "patience=-1: a number of validations"),
    (["save_every=0"], "save_every=0: a number of steps"),
    (["data.geometry=x"], "geometry is x; a number above 0"),
    (["data.geometry=nan"], "geometry is nan; a number above 0"),
    (["data.workers=-1"], "workers is -1; a whole number of at least 0"),
    (["data.min_count=0"], "min_count is 0; a whole number of at least 1"),
    (["objective.missing_words=foo"], "objective.missing_words=foo: zeros, random"),
    (["model=ban_small", "model.glimpses=0"], "glimpses is 0; a whole number of at least 1"),
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
    more = ["objective=self_critical", f"start={run}", "scheduler=constant"]
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
