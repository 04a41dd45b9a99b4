"""Every captioning recipe starts: one training step and a validation, with a small model."""

import json
from pathlib import Path

import numpy as np
import pytest

from bua.cli import main
from bua.engine.loading import read_checkpoint
from bua.store import Regions
from tests.helpers.configurations import compose_config
from tests.helpers.parity import ROOT
from tests.helpers.stores import write_store

WORDS = ["a dog runs on the grass", "two cats sleep on a bed", "the red bus stands on a street"]
#: The sizes of each model's class, small; the recipes have those that were published.
RECURRENT = ["model.word_size=8", "model.hidden_size=12", "model.attention_size=6"]
SMALL = {
    "UpDownCaptioner": RECURRENT,
    "CaffeUpDownCaptioner": RECURRENT,
    "MeanPooledCaptioner": RECURRENT[:2],
    "TransformerCaptioner": ["model.model_size=8", "model.feed_forward_size=12", "model.layers=1"]
    + ["model.heads=2"],
}


def recipes() -> dict[str, str]:
    """Return the objective of every captioning recipe."""
    names = sorted(path.stem for path in (ROOT / "conf/experiment").glob("*.yaml"))
    targets = {name: str(compose_config("train", f"experiment={name}").objective._target_) for name in names}
    return {
        n: t.split(".")[-1]
        for n, t in targets.items()
        if t.endswith(("CaptionCrossEntropyTask", "SelfCriticalTask"))
    }


RECIPES = recipes()
REWARDS = {name for name, objective in RECIPES.items() if objective == "SelfCriticalTask"}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Four images with 36 regions, captioned by Karpathy's file and by COCO's."""
    folder, rng = tmp_path_factory.mktemp("recipes"), np.random.default_rng(0)
    corners = np.sort(rng.random((4, 36, 2, 2), dtype=np.float32) * 90, axis=2).reshape(4, 36, 4)
    features = rng.random((4, 36, 2048), dtype=np.float32).astype(np.float16)
    regions = {n: Regions(features[n], corners[n], (100, 100)) for n in range(4)}
    write_store(folder / "f.h5", regions)
    splits = ["train", "train", "restval", "val"]
    texts = [[WORDS[(n + k) % 3] for k in range(5)] for n in range(4)]
    images = [
        {"filename": f"{n}.jpg", "imgid": n, "cocoid": n, "split": splits[n]}
        | {"sentences": [{"raw": text} for text in texts[n]]}
        for n in range(4)
    ]
    coco = {
        "images": [{"id": n, "file_name": f"{n}.jpg"} for n in range(4)],
        "annotations": [
            {"id": 5 * n + k, "image_id": n, "caption": text}
            for n in range(4)
            for k, text in enumerate(texts[n])
        ],
    }
    (folder / "karpathy.json").write_text(json.dumps({"images": images}))
    (folder / "coco.json").write_text(json.dumps(coco))
    (folder / "vectors.txt").write_text("".join(f"{w} 0.5 -1 0 2 1 0 0 1\n" for w in ("dog", "emu", "bed")))
    (folder / "names.txt").write_text("emu\nemus\n")
    return folder


def train_recipe(name: str, files: Path, scenes: Path, out: Path, *more: str, small: bool = True) -> None:
    """Train a recipe for one step."""
    config = compose_config("train", f"experiment={name}")
    karpathy = "train" in list(config.data.train.splits)
    given = {"features": files / "f.h5", "captions": files / ("karpathy.json" if karpathy else "coco.json")}
    given |= {"word_vectors": files / "vectors.txt", "extra_words": files / "names.txt"}
    given |= {} if karpathy else {"val_captions": files / "coco.json"}
    keys = set(config)  # with those whose values are missing
    if "scenes" in keys:
        given = {"scenes": scenes}
    overrides = [f"{key}={value}" for key, value in given.items() if key in keys]
    sizes = SMALL[config.model._target_.split(".")[-1]] if small else []
    length = [
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=1",
        "trainer.accelerator=cpu",
        "data.batch_size=2",
    ]
    length += ["data.num_workers=0", "trainer.check_val_every_n_epoch=1", "++trainer.val_check_interval=1.0"]
    assert main(["train", f"experiment={name}", f"out={out}", *overrides, *sizes, *length, *more]) == 0
    _, state = read_checkpoint(out / "checkpoints/best.ckpt")
    assert all(value.isfinite().all() for value in state.values())


def first_stage(name: str) -> str:
    """Return the recipe whose run a recipe of rewards starts from."""
    return name.replace("_scst", "_xe").replace("_nsc", "_xe")


def test_recipes_of_both_kinds_are_listed() -> None:
    assert len(RECIPES) >= 12
    assert len(REWARDS) >= 4
    assert {first_stage(name) for name in REWARDS} <= RECIPES.keys() - REWARDS


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_starts(name: str, files, scenes, tmp_path) -> None:
    more = []
    if name in REWARDS:
        train_recipe(first_stage(name), files, scenes, tmp_path / "xe")
        more = [f"init_from={tmp_path}/xe"]
    train_recipe(name, files, scenes, tmp_path / "r", *more)


@pytest.mark.slow
def test_a_recipe_that_ends_within_an_epoch_is_validated(files, scenes, tmp_path) -> None:
    train_recipe("updown_caffe_xe", files, scenes, tmp_path / "xe")
    length = ["trainer.limit_train_batches=1.0", "trainer.max_epochs=-1", "trainer.max_steps=1"]
    length += ["trainer.check_val_every_n_epoch=null", "++trainer.val_check_interval=1", "data.batch_size=1"]
    train_recipe("updown_caffe_scst", files, scenes, tmp_path / "r", f"init_from={tmp_path}/xe", *length)
    assert "val/CIDEr" in (tmp_path / "r/metrics.csv").read_text()
