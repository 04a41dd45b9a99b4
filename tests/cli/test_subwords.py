"""A captioner that says pieces of words, through the commands: all that it shows is of whole words."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bua.cli import main
from bua.engine.loading import load
from bua.store import FeatureStore
from bua.text.vocabulary import BOS

SMALL = ["model.word_size=8", "model.hidden_size=12", "model.attention_size=6", "trainer.accelerator=cpu"]


@pytest.fixture(scope="module")
def run(scenes, tmp_path_factory) -> Path:
    """A captioner trained for an epoch over few pieces, so that most words are made of several."""
    out = tmp_path_factory.mktemp("pieces")
    words = ["vocabulary=virtex", "data.vocabulary.size=60", "data.max_length=40"]
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
    command = ["experiment=caption_scenes", f"scenes={scenes}", f"out={tmp_path}/run", f"init_from={run}"]
    words = ["vocabulary=virtex", "data.vocabulary.size=60", "data.max_length=40"]
    assert main(["train", *command, *SMALL, *words, "objective=self_critical"]) == 2
    assert "rewards compare whole words" in capfd.readouterr().err.strip().splitlines()[-1]


def test_words_of_scenes_look_where_their_pieces_look_in_the_mean(run, scenes) -> None:
    from bua.data.captions.files import read_captions
    from bua.inference.attention_maps import read_groundings, word_attention

    trained, store = load(run), FeatureStore(scenes / "regions.h5")
    file = read_captions(scenes / "captions_test.json")
    named = read_groundings(scenes / "groundings_test.json")
    found = list(word_attention(trained, store, file, named))
    assert len(found) == sum(len(words) for image in file.captions for words in named[image])
    image_id, texts = next(iter(file.captions.items()))
    encoded = trained.vocabulary.encode(texts[0])
    memory = trained.model.encode(trained.region_input.load(store, [image_id]))
    state, steps = trained.model.init_state(memory, 1), []
    for index in [BOS, *encoded][: len(encoded)]:
        with torch.no_grad():
            _, weights, state = trained.model.step(torch.tensor([[index]]), memory, state)
        steps.append(weights[0, 0].numpy())
    starts = [n for n, index in enumerate(encoded) if trained.vocabulary.words[index].startswith("\u2581")]
    spans = list(zip(starts, [*starts[1:], len(encoded)], strict=True))
    nouns = [position for position, _ in named[image_id][0]]
    assert any(spans[position][1] - spans[position][0] > 1 for position in nouns)
    for position, (weights, boxes, _) in zip(nouns, found, strict=False):
        first, end = spans[position]
        np.testing.assert_allclose(weights, np.mean(steps[first:end], 0), rtol=1e-5)
        assert len(weights) == len(boxes)


@pytest.mark.parametrize("word", ["decode=caffe", "decode=no_repeat", "decode.rules.bad_words=[on]"])
def test_rules_about_words_are_refused_in_one_line(word: str, run, tmp_path, capfd) -> None:
    assert main(["predict", f"run={run}", f"out={tmp_path}/p.json", word]) == 2
    assert "are over words; the model says pieces" in capfd.readouterr().err.strip().splitlines()[-1]


def test_word_vectors_for_pieces_are_refused_in_one_line(scenes, tmp_path, capfd) -> None:
    (tmp_path / "v.txt").write_text("cat 1 2 3 4 5 6 7 8\n")
    command = ["experiment=caption_scenes", f"scenes={scenes}", f"out={tmp_path}/run", *SMALL]
    words = ["vocabulary=virtex", "data.vocabulary.size=60", f"objective.word_vectors={tmp_path}/v.txt"]
    assert main(["train", *command, *words]) == 2
    assert "vectors are of words" in capfd.readouterr().err.strip().splitlines()[-1]


def test_vocabulary_of_a_run_holds_its_model(run) -> None:
    assert json.loads((run / "vocabulary.json").read_text())["model"]
