"""The commands with a captioner of subwords, whose captions and attention are of whole words."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bua.engine.loading import load
from bua.store import FeatureStore
from bua.text.vocabulary import BOS
from tests.helpers.commands import run_error, run_ok

SMALL = ["model.word_size=8", "model.hidden_size=12", "model.attention_size=6", "trainer.accelerator=cpu"]
VOCABULARY = ["vocabulary=virtex", "data.vocabulary.size=60", "data.max_length=40"]


@pytest.fixture(scope="module")
def run(scenes, tmp_path_factory) -> Path:
    """Return the run of a captioner of so few subwords that most words consist of several."""
    out = tmp_path_factory.mktemp("subwords")
    command = ["experiment=caption_scenes", f"scenes={scenes}", f"out={out}/run", "trainer.max_epochs=1"]
    run_ok("train", *command, *SMALL, *VOCABULARY)
    return out / "run"


def test_predictions_have_whole_words_and_the_attention_of_each(run, scenes, tmp_path) -> None:
    predictor, store = load(run), FeatureStore(scenes / "regions.h5")
    first = next(iter(store.image_ids))
    candidates = predictor.caption_batch(predictor.to_batch(store[first]))[0]
    assert candidates
    for caption in candidates:
        assert caption.text.split() == caption.words
        assert "\u2581" not in caption.text
        assert caption.attention.shape == (len(caption.words), len(store[first].boxes))
        np.testing.assert_allclose(caption.attention.sum(1), 1, rtol=1e-4)


def test_rewards_of_subwords_are_rejected(run, scenes, tmp_path, capfd) -> None:
    command = ["experiment=caption_scenes", f"scenes={scenes}", f"out={tmp_path}/run", f"init_from={run}"]
    line = run_error(capfd, "train", *command, *SMALL, *VOCABULARY, "objective=self_critical")
    assert "rewards compare whole words" in line


def test_the_attention_of_a_word_is_the_mean_of_its_subwords(run, scenes) -> None:
    from bua.data.captions.files import read_captions
    from bua.inference.attention_maps import read_groundings, word_attention

    predictor, store = load(run), FeatureStore(scenes / "regions.h5")
    file = read_captions(scenes / "captions_test.json")
    groundings = read_groundings(scenes / "groundings_test.json")
    found = list(word_attention(predictor, store, file, groundings))
    assert len(found) == sum(len(words) for image in file.captions for words in groundings[image])
    image_id, texts = next(iter(file.captions.items()))
    encoded = predictor.vocabulary.encode(texts[0])
    memory = predictor.model.encode(predictor.region_input.load(store, [image_id]))
    state, steps = predictor.model.init_state(memory, 1), []
    for index in [BOS, *encoded][: len(encoded)]:
        with torch.no_grad():
            _, weights, state = predictor.model.step(torch.tensor([[index]]), memory, state)
        steps.append(weights[0, 0].numpy())
    starts = [n for n, index in enumerate(encoded) if predictor.vocabulary.words[index].startswith("\u2581")]
    spans = list(zip(starts, [*starts[1:], len(encoded)], strict=True))
    nouns = [position for position, _ in groundings[image_id][0]]
    assert any(spans[position][1] - spans[position][0] > 1 for position in nouns)
    for position, (weights, boxes, _) in zip(nouns, found, strict=False):
        first, end = spans[position]
        np.testing.assert_allclose(weights, np.mean(steps[first:end], 0), rtol=1e-5)
        assert len(weights) == len(boxes)


@pytest.mark.parametrize("override", ["decode=caffe", "decode=no_repeat", "decode.rules.bad_words=[on]"])
def test_rules_about_words_are_rejected(override: str, run, tmp_path, capfd) -> None:
    line = run_error(capfd, "predict", f"run={run}", f"out={tmp_path}/p.json", override)
    assert "are about words, but the model generates subwords" in line


def test_word_vectors_are_rejected(scenes, tmp_path, capfd) -> None:
    (tmp_path / "v.txt").write_text("cat 1 2 3 4 5 6 7 8\n")
    command = ["experiment=caption_scenes", f"scenes={scenes}", f"out={tmp_path}/run", *SMALL]
    line = run_error(capfd, "train", *command, *VOCABULARY, f"objective.word_vectors={tmp_path}/v.txt")
    assert "v.txt: has vectors of words, but the captioner generates subwords" in line


def test_the_vocabulary_of_a_run_holds_its_subword_model(run) -> None:
    assert json.loads((run / "vocabulary.json").read_text())["model"]
