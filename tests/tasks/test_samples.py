"""Samples of a validation leave the random numbers of the training alone."""

import torch

from bua.tasks.samples import kept_random_state
from tests.helpers.commands import run_ok


def test_random_numbers_are_the_same_afterwards() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with kept_random_state(torch.device("cpu")):
        torch.rand(10)
    assert torch.equal(torch.rand(2), expected)


def test_samples_that_are_drawn_at_random_do_not_change_a_training(scenes, tmp_path) -> None:
    words = ["train", "experiment=caption_scenes", f"scenes={scenes}", "decode@objective.decoder=sample"]
    words += ["model.hidden_size=16", "model.word_size=8", "model.attention_size=8", "trainer.max_epochs=2"]
    for name in ("3", "null"):
        samples = "callbacks.samples.count=3" if name == "3" else "callbacks.samples=null"
        run_ok(*words, samples, "logger=tensorboard", f"out={tmp_path / name}")
    one, other = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("3", "null")
    )
    assert all(torch.equal(value, other[name]) for name, value in one.items())
