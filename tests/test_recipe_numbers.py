"""Recipes have the published numbers: a change of one is a mistake, or a new recipe."""

import pytest
import torch

from bua.engine.instantiate import instantiate
from tests.helpers.configurations import compose_config
from tests.helpers.parity import ROOT

EPOCH = 113287 / 10  # batches of 10 images of Karpathy's train
#: The answers and words that all VQA recipes know.
KNOWN = {
    "data.answers.min_count": 9,
    "data.answers.count_from": "train_val",
    "data.answers.keep_empty": True,
    "data.questions.extra_files": [
        f"folder/v2_OpenEnded_mscoco_{split}_questions.json" for split in ("val2014", "test2015")
    ],
}
#: Published numbers of each experiment, by keys of its configuration.
NUMBERS: dict[str, dict[str, object]] = {
    "updown_caffe_xe": {
        "seed": 1701,
        "optimizer.lr": 0.01,
        "optimizer.momentum": 0.9,
        "optimizer.weight_decay": 5e-4,
        "scheduler.total_iters": 60000,
        "scheduler.power": 1.0,
        "trainer.max_steps": 60000,
        "trainer.gradient_clip_val": 10.0,
        "trainer.gradient_clip_algorithm": "norm",
        "data.batch_size": 100,
        "data.captions_per_image": 1,
        "data.max_length": 19,
        "data.vocabulary.min_count": 5,
        "data.vocabulary.tokenizer": "caffe",
        "objective.reduction.per": "word",
        "objective.reduction.scale": 20.0,
        "objective.ignore_unknown": True,
        "objective.label_smoothing": 0.0,
        "objective.decoder.finished": "compete",
        "objective.decoder.beam_size": 5,
        "model.word_size": 1000,
        "model.hidden_size": 1000,
        "model.attention_size": 512,
    },
    "updown_caffe_scst": {
        "seed": 1701,
        "optimizer.lr": 1e-3,
        "scheduler.gamma": 0.99975,
        "trainer.max_steps": 1000,
        "data.batch_size": 96,
        "objective.baseline": "mean",
        "objective.sampler.finished": "compete",
        "objective.sampler.beam_size": 5,
        "objective.reward.include_eos": False,
        "objective.reward.cider_d": 1.0,
        "objective.reduction.scale": 20.0,
    },
    "updown_xe": {
        "optimizer.lr": 5e-4,
        "scheduler.gamma": 0.8,
        "scheduler.step_size": pytest.approx(3 * EPOCH, abs=3),
        "objective.sampling.max_prob": 0.25,
        "objective.sampling.increment": 0.05,
        "objective.sampling.every_n_epochs": 5,
        "trainer.gradient_clip_val": 0.1,
        "trainer.gradient_clip_algorithm": "value",
        "trainer.max_epochs": 30,
        "data.batch_size": 10,
        "data.captions_per_image": 5,
        "data.max_length": 16,
        "data.vocabulary.min_count": 6,
        "data.vocabulary.count_from": "all",
        "model.dropout": 0.5,
    },
    "updown_scst": {
        "optimizer.lr": 5e-5,
        "objective.baseline": "greedy",
        "objective.sampler.num_samples": 5,
        "objective.sampler.temperature": 1.0,
        "objective.reward.include_eos": True,
        "objective.reduction.per": "word",
        "trainer.max_epochs": 20,
        "trainer.gradient_clip_val": 0.1,
    },
    "updown_nsc": {
        "optimizer.lr": 5e-5,
        "objective.baseline": "leave_one_out",
        "objective.sampler.num_samples": 5,
    },
    "updown_long_xe": {
        "data.batch_size": 100,
        "scheduler.step_size": pytest.approx(5 * EPOCH / 10, abs=5),
        "trainer.max_epochs": 40,
    },
    "updown_long_nsc": {
        "data.batch_size": 100,
        "objective.baseline": "leave_one_out",
        "trainer.max_epochs": 110,
    },
    "transformer_xe": {
        "scheduler.warmup": 20000,
        "trainer.max_epochs": 15,
        "model.model_size": 512,
        "model.feed_forward_size": 2048,
        "model.layers": 6,
        "model.heads": 8,
        "model.dropout": 0.1,
        "optimizer.betas": [0.9, 0.98],
    },
    "transformer_nsc": {
        "optimizer.lr": 5e-6,
        "trainer.max_epochs": 25,
        "objective.baseline": "leave_one_out",
    },
    "resnet_baseline_xe": {"optimizer.lr": 0.01, "trainer.max_steps": 60000, "data.batch_size": 100},
    "updown_nocaps_xe": {
        "optimizer.lr": 0.015,
        "optimizer.weight_decay": 1e-3,
        "scheduler.total_iters": 70000,
        "trainer.max_steps": 70000,
        "trainer.gradient_clip_val": 12.5,
        "data.batch_size": 150,
        "model.word_size": 1000,
        "model.hidden_size": 1200,
        "model.attention_size": 768,
        "objective.reduction.per": "caption",
    },
    "updown_nocaps_cbs_xe": {
        "optimizer.lr": 0.015,
        "trainer.max_steps": 70000,
        "data.batch_size": 150,
        "model.word_size": 300,
        "model.hidden_size": 1200,
        "model.fixed_words": True,
    },
    "vqa_updown_hu": {
        **KNOWN,
        "optimizer._target_": "torch.optim.Adamax",
        "optimizer.lr": 2e-3,
        "scheduler": None,
        "data.batch_size": 512,
        "data.questions.tokenizer": "vqa",
        "data.questions.min_count": 1,
        "data.questions.max_length": 14,
        "data.questions.padding": "front",
        "data.answers.soft_scores": "official",
        "trainer.max_epochs": 30,
        "trainer.gradient_clip_val": 0.25,
        "trainer.gradient_clip_algorithm": "norm",
        "model.hidden_size": 1024,
        "model.word_size": 300,
        "model.dropout": 0.5,
        "model.attention._target_": "bua.models.attention.ProductAttention",
        "model.attention.dropout": 0.2,
        "objective.loss.per": "question",
        "objective.missing_words": "zeros",
        "seed": 1111,
    },
    "vqa_updown_openvqa": {
        **KNOWN,
        "optimizer._target_": "torch.optim.Adamax",
        "optimizer.lr": 2e-3,
        "optimizer.eps": 1e-9,
        "scheduler.first": [0.25, 0.5, 0.75, 1.0],
        "scheduler.milestones": [10, 12],
        "scheduler.gamma": 0.2,
        "data.batch_size": 512,
        "data.questions.max_length": 14,
        "data.questions.padding": "end",
        "trainer.max_epochs": 13,
        "trainer.gradient_clip_val": 0.25,
        "model.cell": "lstm",
        "model.layers.activation": "elu",
        "model.hidden_size": 1024,
        "objective.loss.per": "batch",
    },
    "vqa_updown_teney": {
        **KNOWN,
        "optimizer._target_": "torch.optim.Adadelta",
        "optimizer.lr": 1.0,
        "scheduler": None,
        "data.batch_size": 512,
        "data.questions.max_length": 14,
        "data.questions.padding": "end",
        "data.answers.soft_scores": "third",
        "data.pairs": "folder/v2_mscoco_train2014_complementary_pairs.json",
        "trainer.gradient_clip_val": None,
        "patience": 5,
        "model.hidden_size": 512,
        "model.word_size": 300,
        "objective.loss.per": "question",
    },
    "vqa_ban": {
        **KNOWN,
        "optimizer._target_": "torch.optim.Adamax",
        "optimizer.lr": 1e-3,
        "scheduler.first": [0.5, 1.0, 1.5, 2.0],
        "scheduler.milestones": [10, 12, 14, 16, 18],
        "scheduler.gamma": 0.25,
        "data.batch_size": 256,
        "data.questions.max_length": 14,
        "data.questions.padding": "end",
        "trainer.max_epochs": 13,
        "trainer.gradient_clip_val": 0.25,
        "model.frozen_copy": True,
        "model.glimpses": 8,
        "model.hidden_size": 1280,
        "model.joint_factor": 3,
        "model.dropout": 0.2,
        "model.joint_dropout": 0.5,
        "model.classifier_dropout": 0.5,
        "model.counter.objects": 10,
        "objective.loss.per": "question",
        "seed": 1204,
    },
    "vqa_mcan": {
        **KNOWN,
        "optimizer._target_": "torch.optim.Adam",
        "optimizer.lr": 1e-4,
        "optimizer.betas": [0.9, 0.98],
        "optimizer.eps": 1e-9,
        "scheduler.first": [0.25, 0.5, 0.75, 1.0],
        "scheduler.milestones": [10, 12],
        "scheduler.gamma": 0.2,
        "data.batch_size": 64,
        "data.questions.max_length": 14,
        "data.questions.padding": "end",
        "trainer.max_epochs": 13,
        "trainer.gradient_clip_val": None,
        "objective.loss.per": "batch",
        "model.layers": 6,
        "model.model_size": 512,
        "model.feed_forward_size": 2048,
        "model.heads": 8,
        "model.dropout": 0.1,
    },
}
#: Overrides on which some of these numbers depend.
OVERRIDES = {name: ["questions=folder"] for name in NUMBERS if name.startswith("vqa")}
#: Experiments without published numbers: small ones, and those for one's own data.
OWN = {"caption_scenes", "caption_scenes_mean", "caption_small", "detector_genome", "detector_instances"}
OWN |= {"detector_scenes", "vqa_scenes", "vqa_scenes_blind", "vqa_scenes_mean", "vqa_small"}


def test_all_published_recipes_have_numbers() -> None:
    experiments = {path.stem for path in (ROOT / "conf/experiment").glob("*.yaml")}
    assert NUMBERS.keys() | OWN == experiments


@pytest.mark.parametrize("name", NUMBERS)
def test_recipe_has_the_published_numbers(name: str) -> None:
    config = compose_config("train", f"experiment={name}", *OVERRIDES.get(name, []))
    numbers = {}
    for key in NUMBERS[name]:
        node = config
        for part in key.split("."):
            node = node.get(part)  # None for a recipe without a schedule
        numbers[key] = node
    assert numbers == NUMBERS[name]


@pytest.mark.parametrize("name", NUMBERS)
def test_a_recipe_with_a_number_of_steps_is_validated_after_the_last_one(name: str) -> None:
    trainer = compose_config("train", f"experiment={name}").trainer
    if trainer.max_steps > 0:
        assert trainer.check_val_every_n_epoch is None
        assert trainer.max_steps % trainer.val_check_interval == 0
    else:
        assert (trainer.check_val_every_n_epoch, trainer.get("val_check_interval")) == (1, None)


@pytest.mark.parametrize(
    ("name", "factors"),
    [
        ("ban", [0.5, 1, 1.5, 2, 2, 2, 2, 2, 2, 2, 0.5, 0.5, 0.125]),
        ("openvqa", [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1, 0.2, 0.2, 0.04]),
    ],
)
def test_rates_by_epoch_are_the_published_ones(name: str, factors: list[float]) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = instantiate(
        compose_config("train", f"experiment=vqa_{'ban' if name == 'ban' else 'mcan'}").scheduler
    )
    rates, scheduler = [], schedule(optimizer, steps_per_epoch=3)
    for _ in range(3 * len(factors)):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([factor for factor in factors for _ in range(3)])
