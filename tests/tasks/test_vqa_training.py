"""Training VQA models: what they begin with, what is minimised, at which rates, and what is averaged."""

import logging

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch.nn import functional as F

import bua
from bua.cli import main
from bua.engine.loading import read_checkpoint
from bua.errors import InputError
from bua.models.vqa.two_stream import TwoStreamVQAModel
from bua.tasks.losses import AnswerLoss
from bua.tasks.schedulers import EpochwiseLR
from bua.tasks.vqa import VQATask
from bua.text import PADDING, UNKNOWN
from tests.helpers.data import vqa_data
from tests.tasks.test_tasks import answering, fit

SIZE = 4


def two_stream(data, scheduler=None, **more) -> VQATask:
    torch.manual_seed(0)
    model = TwoStreamVQAModel(**data.sizes, word_size=SIZE, image_size=5, hidden_size=6)
    return VQATask(
        model,
        **data.parts,
        optimizer=lambda p: torch.optim.Adadelta(p, lr=0.8),
        scheduler=scheduler,
        record=data.record,
        **more,
    )


@pytest.fixture
def data(scenes):
    return vqa_data(scenes)


@pytest.fixture
def vectors(data, tmp_path):
    """Vectors of every second word, each number being the word's index."""
    path = tmp_path / "vectors.txt"
    chosen = data.vocabulary.words[4::2]
    lines = [f"{word} {' '.join([str(data.vocabulary.index(word))] * SIZE)}" for word in chosen]
    path.write_text("\n".join(["<unk> 9 9 9 9", "yes 5 6 7 8", *lines]))
    return path


def test_words_begin_with_their_vectors_and_the_others_with_zeros(data, vectors, caplog) -> None:
    caplog.set_level(logging.INFO)
    words = two_stream(data, word_vectors=str(vectors)).model.encoder.word.weight
    for n in range(4, len(data.vocabulary)):
        assert words[n].tolist() == [n if n % 2 == 0 else 0] * SIZE
    assert not words[[PADDING, UNKNOWN]].any()
    total = len(data.vocabulary) - 4
    assert f"{-(-total // 2)} of {total} words have a vector, the others begin as zeros" in caplog.text
    assert f"of {len(data.answers)} answers have one, the others stay random" in caplog.text


def test_words_without_a_vector_may_stay_random(data, vectors) -> None:
    plain = two_stream(data).model.encoder.word.weight
    words = two_stream(data, word_vectors=str(vectors), missing_words="random").model.encoder.word.weight
    torch.testing.assert_close(words[5::2], plain[5::2])
    assert words[4].tolist() == [4] * SIZE
    assert not words[PADDING].any()
    with pytest.raises(InputError, match="missing_words=none: zeros, random"):
        two_stream(data, word_vectors=str(vectors), missing_words="none")


def test_answers_begin_with_the_mean_of_their_words(data, vectors) -> None:
    plain, model = two_stream(data).model, two_stream(data, word_vectors=str(vectors)).model
    begun = model.classifier.text.weight
    yes, no = data.answers.answers.index("yes"), data.answers.answers.index("no")
    assert begun[yes].tolist() == [5, 6, 7, 8]
    torch.testing.assert_close(begun[no], plain.classifier.text.weight[no])


def test_answers_begin_with_what_images_say_of_them(data, tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "images.npz"
    np.savez(path, yes=np.arange(5.0), zebra=np.ones(5))
    plain, model = two_stream(data).model, two_stream(data, answer_images=str(path)).model
    yes, no = data.answers.answers.index("yes"), data.answers.answers.index("no")
    assert model.classifier.image.weight[yes].tolist() == [0, 1, 2, 3, 4]
    torch.testing.assert_close(model.classifier.image.weight[no], plain.classifier.image.weight[no])
    assert f"1 of {len(data.answers)} answers have a vector" in caplog.text


def test_files_that_do_not_fit_are_named(data, vectors, tmp_path) -> None:
    images = tmp_path / "images.npz"
    np.savez(images, yes=np.ones(7))
    with pytest.raises(InputError, match=r"images.npz: 'yes' is \(7,\); 5 finite numbers are needed"):
        two_stream(data, answer_images=str(images))
    np.savez(images, zebra=np.ones(5))
    with pytest.raises(InputError, match="images.npz: none of the"):
        two_stream(data, answer_images=str(images))
    images.write_text("no")
    with pytest.raises(InputError, match="images.npz: not an .npz file of vectors"):
        two_stream(data, answer_images=str(images))
    vectors.write_text("the 1 2 3")
    with pytest.raises(InputError, match=rf"vectors.txt:1: 'the' has 3 numbers, expected {SIZE}"):
        two_stream(data, word_vectors=str(vectors))
    vectors.write_text("zebra 1 2 3 4")
    with pytest.raises(InputError, match="vectors.txt: none of the .* words"):
        two_stream(data, word_vectors=str(vectors))
    task = answering(data)
    with pytest.raises(InputError, match="only model=updown_teney has a stream of images"):
        VQATask(
            task.model,
            **data.parts,
            answer_images=str(images),
            optimizer=task._optimizer,
            scheduler=None,
            record=data.record,
        )


def test_losses_are_sums_over_what_they_say() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(3, 5), torch.rand(3, 5)
    every = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    assert float(AnswerLoss()(logits, targets)) == pytest.approx(float(every.sum(1).mean()))
    assert float(AnswerLoss("batch")(logits, targets)) == pytest.approx(float(every.sum()))
    assert float(AnswerLoss("answer")(logits, targets)) == pytest.approx(float(every.mean()))
    with pytest.raises(ValueError, match="a loss per 'word'; it must be per question, batch, answer"):
        AnswerLoss("word")


def test_answers_are_learnt_more_slowly_where_the_model_says_so(data) -> None:
    task = two_stream(data)
    optimizer = task.configure_optimizers()
    rate = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    names = dict(task.named_parameters())
    assert set(rate) == set(names.values())
    assert rate[names["model.classifier.text.weight"]] == pytest.approx(0.5 * 0.8)
    assert rate[names["model.classifier.image.weight"]] == pytest.approx(0.01 * 0.8)
    assert {rate[p] for name, p in names.items() if "text.w" not in name and "image.w" not in name} == {0.8}


def test_a_schedule_that_knows_one_rate_only_is_refused_where_there_are_several(data) -> None:
    def one(optimizer):
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=9, cycle_momentum=False)

    with pytest.raises(InputError, match="OneCycleLR gives all parameters one rate"):
        two_stream(data, scheduler=one).configure_optimizers()


class Rates(pl.Callback):
    """Keeps the rate of every step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.values.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_a_schedule_by_epochs_knows_the_steps_of_one(data) -> None:
    def schedule(optimizer, *, steps_per_epoch):
        return EpochwiseLR(
            optimizer, steps_per_epoch=steps_per_epoch, first=[0.5, 2.0], milestones=[3, 4], gamma=0.1
        )

    task, rates = two_stream(data, scheduler=schedule), Rates()
    fit(task, data, epochs=5, callbacks=[rates])
    steps = len(data.train_dataloader())
    wanted = [0.8 * factor for factor in (0.5, 2.0, 2.0, 0.2, 0.02) for _ in range(steps)]
    assert rates.values == pytest.approx(wanted)


class Weights(pl.Callback):
    """Keeps one weight after every step."""

    def __init__(self) -> None:
        self.values: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.values.append(pl_module.model.classifier[3].bias.detach().clone())


def test_averaged_weights_are_the_moving_average_of_every_step(data, tmp_path) -> None:
    task, weights = answering(data), Weights()
    trainer = fit(task, data, steps=6, callbacks=[weights, EMAWeightAveraging(decay=0.7)])
    average = weights.values[0]
    for value in weights.values[1:]:
        average = 0.7 * average + 0.3 * value
    torch.testing.assert_close(task.model.classifier[3].bias.detach(), average)
    assert trainer.global_step == len(weights.values) == 6


def train(scenes, out, *more: str) -> None:
    fixed = ["experiment=vqa_scenes", f"scenes={scenes}", "scheduler=constant", "ema=0.8"]
    sizes = ["model.word_size=5", "model.hidden_size=6", "data.batch_size=30", "data.answers.min_count=1"]
    assert main(["train", *fixed, *sizes, f"out={out}", *more]) == 0


def test_the_best_checkpoint_holds_averaged_weights_and_a_resumed_run_goes_on_with_them(
    scenes, tmp_path, capfd
) -> None:
    train(scenes, tmp_path / "whole", "trainer.max_epochs=2")
    train(scenes, tmp_path / "parts", "trainer.max_epochs=1")
    train(scenes, tmp_path / "parts", "trainer.max_epochs=2", "resume=true")
    last = tmp_path / "whole" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 10  # though the second epoch is no better
    _, whole = read_checkpoint(last)
    _, parts = read_checkpoint(tmp_path / "parts" / "checkpoints" / "last.ckpt")
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value)
    current = torch.load(last, weights_only=True)["current_model_state"]
    name = "classifier.3.bias"
    assert not torch.allclose(whole[name], current[f"model.{name}"].cpu())
    best = bua.load(tmp_path / "whole").model.state_dict()
    _, saved = read_checkpoint(tmp_path / "whole" / "checkpoints" / "best.ckpt")
    torch.testing.assert_close(best[name], saved[name])
    again = ["resume=true", f"out={tmp_path / 'parts'}", "experiment=vqa_scenes", f"scenes={scenes}"]
    assert main(["train", *again, "scheduler=constant", "ema=null"]) == 2


@pytest.mark.parametrize("ema", ["0", "1", "2"])
def test_a_decay_that_is_none_is_refused(scenes, tmp_path, capfd, ema: str) -> None:
    given = ["experiment=vqa_scenes", f"scenes={scenes}", "data.answers.min_count=1", f"ema={ema}"]
    assert main(["train", *given, f"out={tmp_path / 'run'}"]) == 2
    assert f"ema={ema}: a number between 0 and 1 is needed" in capfd.readouterr().err
