"""VQA training: initial embeddings, losses, learning rates and averaged weights."""

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
from bua.tasks.schedulers import EpochwiseLR
from bua.tasks.vqa import AnswerLoss, VQATask
from bua.text import PADDING, UNKNOWN
from tests.helpers.data import vqa_data
from tests.helpers.tasks import fit, vqa_task

SIZE = 4


def two_stream_task(data, scheduler=None, **options) -> VQATask:
    torch.manual_seed(0)
    model = TwoStreamVQAModel(**data.sizes, word_size=SIZE, image_size=5, hidden_size=6)
    return VQATask(
        model,
        **data.parts,
        optimizer=lambda p: torch.optim.Adadelta(p, lr=0.8, weight_decay=1e-3),
        scheduler=scheduler,
        record=data.record,
        **options,
    )


@pytest.fixture
def data(scenes):
    return vqa_data(scenes)


@pytest.fixture
def vectors(data, tmp_path):
    """Return a file of vectors of every second word, filled with the word's index."""
    path = tmp_path / "vectors.txt"
    words = data.vocabulary.words[4::2]
    lines = [f"{word} {' '.join([str(data.vocabulary.index(word))] * SIZE)}" for word in words]
    path.write_text("\n".join(["<unk> 9 9 9 9", "yes 5 6 7 8", *lines]))
    return path


def test_words_without_a_vector_are_initialized_with_zeros(data, vectors, caplog) -> None:
    caplog.set_level(logging.INFO)
    words = two_stream_task(data, word_vectors=str(vectors)).model.encoder.word.weight
    for n in range(4, len(data.vocabulary)):
        assert words[n].tolist() == [n if n % 2 == 0 else 0] * SIZE
    assert not words[[PADDING, UNKNOWN]].any()
    total = len(data.vocabulary) - 4
    assert f"{-(-total // 2)} of {total} words have a vector, the others are zeros" in caplog.text
    assert f"of {len(data.answers)} answers have a vector, the others stay random" in caplog.text


def test_words_without_a_vector_can_stay_random(data, vectors) -> None:
    plain = two_stream_task(data).model.encoder.word.weight
    words = two_stream_task(data, word_vectors=str(vectors), missing_words="random").model.encoder.word.weight
    torch.testing.assert_close(words[5::2], plain[5::2])
    assert words[4].tolist() == [4] * SIZE
    assert not words[PADDING].any()
    with pytest.raises(InputError, match="objective.missing_words=none: must be one of zeros, random"):
        two_stream_task(data, word_vectors=str(vectors), missing_words="none")


def test_answers_are_initialized_with_the_mean_of_their_words(data, vectors) -> None:
    plain, model = two_stream_task(data).model, two_stream_task(data, word_vectors=str(vectors)).model
    weight = model.classifier.text.weight
    yes, no = data.answers.answers.index("yes"), data.answers.answers.index("no")
    assert weight[yes].tolist() == [5, 6, 7, 8]
    torch.testing.assert_close(weight[no], plain.classifier.text.weight[no])


def test_answers_are_initialized_with_vectors_of_images(data, tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "images.npz"
    np.savez(path, yes=np.arange(5.0), zebra=np.ones(5))
    plain, model = two_stream_task(data).model, two_stream_task(data, answer_images=str(path)).model
    yes, no = data.answers.answers.index("yes"), data.answers.answers.index("no")
    assert model.classifier.image.weight[yes].tolist() == [0, 1, 2, 3, 4]
    torch.testing.assert_close(model.classifier.image.weight[no], plain.classifier.image.weight[no])
    assert f"1 of {len(data.answers)} answers have a vector" in caplog.text


def test_files_that_do_not_fit_are_rejected(data, vectors, tmp_path) -> None:
    images = tmp_path / "images.npz"
    np.savez(images, yes=np.ones(7))
    with pytest.raises(
        InputError, match=r"images.npz: 'yes' must be 5 finite numbers \(model.image_size\), not \(7,\)"
    ):
        two_stream_task(data, answer_images=str(images))
    np.savez(images, zebra=np.ones(5))
    with pytest.raises(InputError, match="images.npz: has none of the .* answers"):
        two_stream_task(data, answer_images=str(images))
    images.write_text("no")
    with pytest.raises(InputError, match="images.npz: not an .npz file of vectors"):
        two_stream_task(data, answer_images=str(images))
    vectors.write_text("the 1 2 3")
    with pytest.raises(InputError, match=rf"vectors.txt:1: 'the' has 3 numbers, expected {SIZE}"):
        two_stream_task(data, word_vectors=str(vectors))
    vectors.write_text("zebra 1 2 3 4")
    with pytest.raises(InputError, match="vectors.txt: has none of the .* words"):
        two_stream_task(data, word_vectors=str(vectors))
    task = vqa_task(data)
    with pytest.raises(InputError, match="only model=updown_teney has an image stream"):
        VQATask(
            task.model,
            **data.parts,
            answer_images=str(images),
            optimizer=task._optimizer,
            scheduler=None,
            record=data.record,
        )


def test_losses_divide_by_their_unit() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(3, 5), torch.rand(3, 5)
    losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    assert float(AnswerLoss()(logits, targets)) == pytest.approx(float(losses.sum(1).mean()))
    assert float(AnswerLoss("batch")(logits, targets)) == pytest.approx(float(losses.sum()))
    assert float(AnswerLoss("answer")(logits, targets)) == pytest.approx(float(losses.mean()))
    with pytest.raises(ValueError, match="per must be one of question, batch, answer, got 'word'"):
        AnswerLoss("word")


def test_classifier_has_the_learning_rates_that_the_model_asks_for(data) -> None:
    task = two_stream_task(data)
    optimizer = task.configure_optimizers()
    rate = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    names = dict(task.named_parameters())
    assert set(rate) == set(names.values())
    assert rate[names["model.classifier.text.weight"]] == pytest.approx(0.5 * 0.8)
    assert rate[names["model.classifier.image.weight"]] == pytest.approx(0.01 * 0.8)
    assert {rate[p] for name, p in names.items() if "text.w" not in name and "image.w" not in name} == {0.8}


def test_multipliers_change_the_rate_and_the_decay_of_the_parameters_that_they_name(data) -> None:
    multipliers = {
        "bias": {"lr": 2.0},
        "question.value.bias": {"lr": 3.0, "weight_decay": 0.0},
        "text.weight": {"lr": 4},
    }
    task = two_stream_task(data, multipliers=multipliers)
    optimizer = task.configure_optimizers()
    groups = {p: group for group in optimizer.param_groups for p in group["params"]}
    assert len(groups) == len(list(task.parameters()))
    decay = optimizer.defaults["weight_decay"]
    for name, parameter in task.named_parameters():
        rate = 3.0 if name.endswith("question.value.bias") else 2.0 if name.endswith(".bias") else 1.0
        rate *= 0.5 * 4 if name.endswith("text.weight") else 0.01 if name.endswith("image.weight") else 1
        assert groups[parameter]["lr"] == pytest.approx(0.8 * rate), name
        has_decay = not name.endswith("question.value.bias")
        assert groups[parameter]["weight_decay"] == (decay if has_decay else 0), name


@pytest.mark.parametrize(
    ("multipliers", "message"),
    [
        ({"biases": {"lr": 2.0}}, "no parameter is named biases; the model has model"),
        ({"ias": {"lr": 2.0}}, "no parameter is named ias"),
        ({"bias": {"rate": 2.0}}, "multipliers.bias=.*: must hold factors of lr and weight_decay"),
        ({"bias": {"lr": -1}}, "multipliers.bias.lr must be a number of at least 0, got -1"),
        ({"bias": 2.0}, "multipliers.bias=2.0: must hold factors"),
        (2.0, "multipliers=2.0: must be factors by name"),
    ],
)
def test_multipliers_that_change_nothing_are_refused(multipliers, message, data) -> None:
    with pytest.raises(ValueError, match=message):
        two_stream_task(data, multipliers=multipliers).parameter_groups()


def test_schedules_of_one_rate_are_refused_for_models_with_several(data) -> None:
    def one_cycle(optimizer):
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=9, cycle_momentum=False)

    with pytest.raises(InputError, match="OneCycleLR sets one learning rate for all parameters"):
        two_stream_task(data, scheduler=one_cycle).configure_optimizers()


class LearningRates(pl.Callback):
    """Keeps the learning rate of every step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.values.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_epochwise_schedule_gets_the_steps_of_an_epoch(data) -> None:
    def schedule(optimizer, *, steps_per_epoch):
        return EpochwiseLR(
            optimizer, steps_per_epoch=steps_per_epoch, first=[0.5, 2.0], milestones=[3, 4], gamma=0.1
        )

    task, rates = two_stream_task(data, scheduler=schedule), LearningRates()
    fit(task, data, epochs=5, callbacks=[rates])
    steps = len(data.train_dataloader())
    expected = [0.8 * factor for factor in (0.5, 2.0, 2.0, 0.2, 0.02) for _ in range(steps)]
    assert rates.values == pytest.approx(expected)


class StepWeights(pl.Callback):
    """Keeps one weight after every step."""

    def __init__(self) -> None:
        self.values: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.values.append(pl_module.model.classifier[3].bias.detach().clone())


def test_averaged_weights_are_the_moving_average_of_all_steps(data, tmp_path) -> None:
    task, weights = vqa_task(data), StepWeights()
    trainer = fit(task, data, steps=6, callbacks=[weights, EMAWeightAveraging(decay=0.7)])
    average = weights.values[0]
    for value in weights.values[1:]:
        average = 0.7 * average + 0.3 * value
    torch.testing.assert_close(task.model.classifier[3].bias.detach(), average)
    assert trainer.global_step == len(weights.values) == 6


def train(scenes, out, *overrides: str) -> int:
    """Train with averaged weights and return the exit status."""
    fixed = ["experiment=vqa_scenes", f"scenes={scenes}", "scheduler=constant", "callbacks.ema.decay=0.8"]
    sizes = ["model.word_size=5", "model.hidden_size=6", "data.batch_size=30", "data.answers.min_count=1"]
    return main(["train", *fixed, *sizes, f"out={out}", *overrides])


def test_checkpoints_hold_averaged_weights_and_resume_with_them(scenes, tmp_path, capfd) -> None:
    assert train(scenes, tmp_path / "whole", "trainer.max_epochs=2") == 0
    assert train(scenes, tmp_path / "parts", "trainer.max_epochs=1") == 0
    assert train(scenes, tmp_path / "parts", "trainer.max_epochs=2", "resume=true") == 0
    last = tmp_path / "whole" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 10  # although the second epoch is no better
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
    assert (
        train(scenes, tmp_path / "parts", "trainer.max_epochs=2", "resume=true", "callbacks.ema.decay=null")
        == 2
    )
    assert "parts: callbacks.ema.decay differs from that of the run (0.8, not null)" in capfd.readouterr().err
    options = ["trainer.max_epochs=2", "resume=true", "multipliers={bias: {lr: 2.0}}"]
    assert train(scenes, tmp_path / "parts", *options) == 2
    assert "parts: multipliers.bias.lr differs from that of the run" in capfd.readouterr().err
    assert train(scenes, tmp_path / "new", "trainer.max_epochs=1", "multipliers={biases: {lr: 2.0}}") == 2
    assert "multipliers: no parameter is named biases" in capfd.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("ema", ["0", "1", "2"])
def test_invalid_decay_is_rejected(scenes, tmp_path, capfd, ema: str) -> None:
    overrides = [
        "experiment=vqa_scenes",
        f"scenes={scenes}",
        "data.answers.min_count=1",
        f"callbacks.ema.decay={ema}",
    ]
    assert main(["train", *overrides, f"out={tmp_path / 'run'}"]) == 2
    assert f"callbacks.ema.decay={ema}: must be a number between 0 and 1" in capfd.readouterr().err
