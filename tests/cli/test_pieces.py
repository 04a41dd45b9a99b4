"""A captioner that says pieces of words, through the commands: all that it shows is of whole words."""

import json
from pathlib import Path

import numpy as np
import pytest

from bua.cli import main
from bua.cli.load import load
from bua.store import FeatureStore

SMALL = ["model.word_size=8", "model.hidden_size=12", "model.attention_size=6", "trainer.accelerator=cpu"]


@pytest.fixture(scope="module")
def run(scenes, tmp_path_factory) -> Path:
    """A captioner trained for an epoch over few pieces, so that most words are made of several."""
    out = tmp_path_factory.mktemp("pieces")
    words = ["vocabulary=virtex", "data.vocabulary.size=60", "data.max_words=40"]
    command = ["experiment=caption_scenes", f"scenes={scenes}", f"out={out}/run", "trainer.max_epochs=1"]
    assert main(["train", *command, *SMALL, *words]) == 0
    return out / "run"


def test_predictions_have_whole_words_with_the_attention_of_each(run, scenes, tmp_path) -> None:
    trained, store = load(run), FeatureStore(scenes / "regions.h5")
    first = next(iter(store.image_ids))
    candidates = trained.caption_store(store, [first])[0]
    assert candidates
    for said in candidates:
        assert said.text.split() == said.words
        assert "\u2581" not in said.text
        assert said.weights.shape == (len(said.words), len(store[first].boxes))
        np.testing.assert_allclose(said.weights.sum(1), 1, rtol=1e-4)


def test_rewards_on_pieces_are_refused_in_one_line(run, scenes, tmp_path, capfd) -> None:
    command = ["experiment=caption_scenes", f"scenes={scenes}", f"out={tmp_path}/run", f"start={run}"]
    words = ["vocabulary=virtex", "data.vocabulary.size=60", "data.max_words=40"]
    assert main(["train", *command, *SMALL, *words, "objective=self_critical"]) == 2
    assert "rewards compare whole words" in capfd.readouterr().err.strip().splitlines()[-1]


def test_words_of_scenes_are_grounded_by_all_of_their_pieces(run, scenes) -> None:
    from bua.data.caption_files import read_captions
    from bua.tasks.grounding import looks, read_groundings

    trained, store = load(run), FeatureStore(scenes / "regions.h5")
    file = read_captions(scenes / "captions_test.json")
    named = read_groundings(scenes / "groundings_test.json")
    found = list(looks(trained, store, file, named))
    assert len(found) == sum(len(words) for image in file.captions for words in named[image])
    for weights, boxes, _ in found:
        assert len(weights) == len(boxes)
        assert weights.sum() == pytest.approx(1, rel=1e-4)


def test_vocabulary_of_a_run_holds_its_model(run) -> None:
    assert json.loads((run / "vocabulary.json").read_text())["model"]
