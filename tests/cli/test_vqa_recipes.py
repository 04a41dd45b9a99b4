"""The five published VQA recipes train and answer, with small models on files named like those of VQA v2."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import bua
from bua.cli import main
from bua.store import FeatureStore
from tests.helpers.parity import ROOT

SMALL = {
    "vqa_updown_hu": ["model.hidden_size=8"],
    "vqa_updown_teney": ["model.hidden_size=8", "model.image_size=5"],
    "vqa_updown_openvqa": ["model.hidden_size=8"],
    "vqa_ban": ["model.hidden_size=8", "model.glimpses=2"],
    "vqa_mcan": ["model.model_size=8", "model.heads=2", "model.feed_forward_size=8", "model.layers=1"],
}
BASELINES = {"vqa_scenes", "vqa_scenes_mean", "vqa_scenes_blind", "vqa_small"}


def test_every_recipe_is_tested() -> None:
    experiments = {file.stem for file in (ROOT / "conf" / "experiment").glob("vqa_*.yaml")}
    assert experiments == set(SMALL) | BASELINES


@pytest.fixture(scope="module")
def vqa(scenes, tmp_path_factory) -> Path:
    """Return a folder of files with the names of VQA v2, and word vectors of size 4."""
    folder = tmp_path_factory.mktemp("vqa")
    for split, name in (("train", "train2014"), ("val", "val2014")):
        shutil.copy(scenes / f"questions_{split}.json", folder / f"v2_OpenEnded_mscoco_{name}_questions.json")
        shutil.copy(scenes / f"annotations_{split}.json", folder / f"v2_mscoco_{name}_annotations.json")
    shutil.copy(scenes / "questions_test.json", folder / "v2_OpenEnded_mscoco_test2015_questions.json")
    questions = json.loads((scenes / "questions_train.json").read_text())["questions"]
    pairs = [[questions[0]["question_id"], questions[-1]["question_id"]]]
    (folder / "v2_mscoco_train2014_complementary_pairs.json").write_text(json.dumps(pairs))
    (folder / "glove.txt").write_text("what 1 2 3 4\nis 5 6 7 8\nyes 1 1 1 1\n")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_recipe_trains_and_its_model_answers(name: str, vqa, scenes, tmp_path) -> None:
    files = [
        f"experiment={name}",
        f"features={scenes}/regions.h5",
        f"questions={vqa}",
        f"word_vectors={vqa}/glove.txt",
    ]
    small = ["model.word_size=4", "data.answers.min_count=1", "trainer.max_epochs=2", "data.num_workers=0"]
    assert main(["train", *files, *small, *SMALL[name], f"out={tmp_path}/run"]) == 0
    predictor = bua.load(tmp_path / "run")
    store = FeatureStore(scenes / "regions.h5")
    answer = predictor.ask(store[store.image_ids[0]], "what is there?")
    assert answer.text in predictor.answers.surface_forms
    assert answer.attention.sum() == pytest.approx(1, abs=1e-4)
    assert all(torch.isfinite(value).all() for value in predictor.model.state_dict().values())
