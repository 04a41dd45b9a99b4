"""Recipes equal their sources, except where their receipts say why not."""

import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from bua.engine.instantiate import instantiate
from experiments import receipts
from experiments.receipts import UNVERIFIED, Row, read_receipt
from tests.helpers.configurations import compose_config
from tests.helpers.parity import ROOT

EXPERIMENTS = {path.stem: path for path in (ROOT / "conf/experiment").glob("*.yaml")}
RECIPES = receipts.names()
#: Keys that are no settings of a source: where files are, when a run validates and saves, and how it reads.
FREE = ("scenes", "features", "captions", "val_captions", "instances", "val_instances", "genome", "images")
FREE += ("word_vectors", "extra_words", "data.vocabulary.extra_words", "data.num_workers")
FREE += ("callbacks.last.every_n_steps", "callbacks.samples.images")
FREE += ("trainer.check_val_every_n_epoch", "trainer.val_check_interval", "trainer.max_epochs=-1")


read_once = functools.cache(read_receipt)


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys and values that a file sets."""
    for key, value in node.items():
        if isinstance(value, dict) and key != "multipliers":
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def test_exactly_the_experiments_that_name_a_published_source_have_receipts() -> None:
    """The header of every other experiment says that nothing is published, since its data are own."""
    own = {name for name, path in EXPERIMENTS.items() if "# Published  none, since" in path.read_text()}
    assert len(own) == 9
    assert set(RECIPES) == set(EXPERIMENTS) - own
    assert len(RECIPES) == 18


@pytest.mark.parametrize("name", RECIPES)
def test_a_setting_equals_its_source_unless_it_is_listed_as_a_deviation(name: str) -> None:
    receipt = read_once(name)
    assert receipt.source
    for row in receipt.rows:
        if row.differs:
            assert row.deviation, f"{row.setting}: {row.bua!r} is not {row.source!r}: give the reason"
        else:
            assert not row.deviation, f"{row.setting}: no longer differs, so it is no deviation"
        assert bool(row.where) == row.is_verified, f"{row.setting}: says where, or is unverified"


@pytest.mark.parametrize("name", RECIPES)
def test_every_setting_of_an_experiment_has_one_row(name: str) -> None:
    keys = [row.key for row in read_once(name).rows if row.key]
    assert len(keys) == len(set(keys))
    content: Any = OmegaConf.to_container(OmegaConf.load(EXPERIMENTS[name]))
    content.pop("defaults")
    found = dict(leaves(content))
    settings = {key for key, value in found.items() if key not in FREE and f"{key}={value}" not in FREE}
    assert settings <= set(keys)


def row(source: Any, bua: Any, deviation: str = "") -> Row:
    return Row("a", source, "file", "key", bua, deviation)


@pytest.mark.parametrize(
    ("source", "bua", "differs"),
    [
        (1, 1.0, False),
        (5e-4, 0.0005000000000000001, False),
        (5e-4, 5.1e-4, True),
        (True, 1, True),
        (0, False, True),
        (None, 0, True),
        (None, None, False),
        ([1, 2], [1.0, 2], False),
        ([1, 2], [1], True),
        ({"bias": {"lr": 2}}, {"bias": {"lr": 2.0}}, False),
        ({"bias": {"lr": 2}}, {}, True),
        (UNVERIFIED, 3, False),
        ("a", "b", True),
    ],
)
def test_values_differ_unless_they_are_equal_up_to_rounding(source, bua, differs) -> None:
    assert row(source, bua).differs == differs


def test_the_page_of_recipes_is_that_of_the_receipts() -> None:
    page = receipts.PAGE.read_text()
    assert receipts.fill(page, list(map(read_once, RECIPES))) == page, (
        "python -m experiments.receipts writes it"
    )


def test_the_page_shows_differences_and_what_is_unverified() -> None:
    rows = [row(1, 2, "a reason"), row(UNVERIFIED, 3), row([True], [True])]
    page = receipts.make_page([receipts.Receipt("x", "owner/name", rows)])
    assert "| [`x`](#x) | owner/name | 3 | 1 | 1 | 1 |" in page
    assert "| a | 1 | file | 2 (`key`) | **differs** |" in page
    assert "- a: a reason" in page
    assert "| a | yes | file | yes (`key`) |  |" in page


@pytest.mark.parametrize("wrong", [{"key": "seed", "bua": "0"}, {}, {"key": "seed", "sorce": 1}])
def test_a_row_without_a_value_or_with_an_unknown_word_is_refused(wrong, tmp_path, monkeypatch) -> None:
    rows = {"rows": [{"setting": "seed", "source": 0, **wrong}], "source": "owner/name"}
    OmegaConf.save(rows, tmp_path / "updown_xe.yaml")
    monkeypatch.setattr(receipts, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="updown_xe: .*needs setting, source, and either key or bua"):
        read_receipt("updown_xe")


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("vqa")])
def test_vqa_recipes_know_the_words_of_all_questions(name: str) -> None:
    data = compose_config("train", f"experiment={name}", "questions=folder").data
    files = [f"folder/v2_OpenEnded_mscoco_{split}_questions.json" for split in ("val2014", "test2015")]
    assert data.questions.extra_files == files


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_with_a_number_of_steps_is_validated_after_the_last_one(name: str) -> None:
    trainer = compose_config("train", f"experiment={name}").trainer
    if trainer.max_steps > 0:
        assert trainer.check_val_every_n_epoch is None
        assert trainer.max_steps % trainer.val_check_interval == 0
    else:
        assert (trainer.check_val_every_n_epoch, trainer.get("val_check_interval")) == (1, None)


def rates_of_epochs(name: str, epochs: int, steps: int, *overrides: str, **options: int) -> list[float]:
    """Return the learning rate of the last step of every epoch."""
    config = compose_config("train", f"experiment={name}", *overrides)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=config.optimizer.lr)
    rates, scheduler = [], instantiate(config.scheduler)(optimizer, **options)
    for _ in range(epochs):
        for _ in range(steps):
            rate = optimizer.param_groups[0]["lr"]
            optimizer.step()
            scheduler.step()
        rates.append(rate)
    return rates


@pytest.mark.parametrize(
    ("name", "factors"),
    [
        ("ban", [0.5, 1, 1.5, 2, 2, 2, 2, 2, 2, 2, 0.5, 0.5, 0.125]),
        ("mcan", [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1, 0.2, 0.2, 0.04]),
    ],
)
def test_rates_by_epoch_are_the_published_ones(name: str, factors: list[float]) -> None:
    rate = compose_config("train", f"experiment=vqa_{name}").optimizer.lr
    rates = rates_of_epochs(f"vqa_{name}", len(factors), 3, steps_per_epoch=3)
    assert rates == pytest.approx([rate * factor for factor in factors])


def test_the_decay_of_the_long_recipe_goes_on_over_both_stages() -> None:
    for name in ("updown_long_xe", "updown_long_nsc"):
        assert compose_config("train", f"experiment={name}").scheduler.step_size == 5 * -(-113287 // 100)
    a_step_an_epoch = "scheduler.step_size=5"
    first = rates_of_epochs("updown_long_xe", 40, 1, a_step_an_epoch)
    second = rates_of_epochs("updown_long_nsc", 110, 1, a_step_an_epoch)
    assert first + second == pytest.approx([5e-4 * 0.8 ** (epoch // 5) for epoch in range(150)])
    assert (second[0], second[-1]) == pytest.approx((8.4e-5, 7.7e-7), rel=0.01)
