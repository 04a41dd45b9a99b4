"""Words that no caption has: known by their vectors, and said where a constraint asks for them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bua.cli import main
from bua.engine.loading import load, read_checkpoint
from bua.store import FeatureStore, Regions
from bua.tasks.embeddings import init_caption_embeddings
from bua.text.vocabulary import BOS, SPECIAL
from tests.helpers.stores import METADATA, write_store

SIZES = ["model.word_size=8", "model.hidden_size=12", "model.attention_size=6", "trainer.accelerator=cpu"]
TEXTS = ["a dog runs on the grass", "two dogs sleep on the grass", "a dog on a bed"]


def vector(word: str) -> list[float]:
    """The numbers of a word, those of emus near those of dogs."""
    rng = np.random.default_rng(sum(word.replace("emu", "dog").encode()))
    return [round(float(x), 4) for x in rng.normal(size=8) + (0.01 if "emu" in word else 0)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Captions of dogs, vectors of all their words but one and of emus, regions of dogs and emus."""
    folder, rng = tmp_path_factory.mktemp("novel"), np.random.default_rng(0)
    boxes = np.array([[0, 0, 50, 50], [10, 10, 90, 90]], np.float32)
    images = {
        n: Regions(
            rng.random((2, 6), dtype=np.float32),
            boxes,
            (100, 100),
            class_id=np.array([0, 1], np.int32),
            class_score=np.array([0.9, 0.8], np.float32),
        )
        for n in range(6)
    }
    write_store(folder / "f.h5", images, replace(METADATA, class_names=("dog", "emu")))
    captions = {str(n): [TEXTS[n % 3], TEXTS[(n + 1) % 3]] for n in range(6)}
    (folder / "c.json").write_text(json.dumps(captions))
    words = {word for text in TEXTS for word in text.split()} - {"the"} | {"emu", "emus"}
    lines = (" ".join(map(str, [word, *vector(word)])) for word in sorted(words))
    (folder / "vectors.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def run(folder) -> Path:
    """A captioner that knows emus by their vector alone."""
    common = [f"features={folder}/f.h5", f"out={folder}/constraints.json", f"words={folder}/names.txt"]
    assert main(["captions", "constraints", *common, "most=2"]) == 0
    given = [f"{key}={folder}/c.json" for key in ("train", "val")] + [f"features={folder}/f.h5"]
    given += [f"vectors={folder}/vectors.txt", f"words={folder}/names.txt", f"out={folder}/run"]
    short = ["data.vocabulary.min_count=1", "data.batch_size=2", "trainer.max_steps=3", "data.num_workers=0"]
    short += ["trainer.val_check_interval=1", "data.vocabulary.tokenizer=karpathy"]
    assert main(["train", "experiment=updown_nocaps_cbs_xe", *given, *SIZES, *short]) == 0
    return folder / "run"


def test_names_of_classes_are_written_in_singular_and_plural(run, folder) -> None:
    assert (folder / "names.txt").read_text().split() == ["dog", "dogs", "emu", "emus"]


def test_named_words_are_known_behind_those_of_the_captions(run) -> None:
    words = load(run).vocabulary.words
    assert words[-2:] == ("emu", "emus")
    assert len(set(words)) == len(words)


def test_vectors_are_those_of_the_file_after_training(run) -> None:
    _, state = read_checkpoint(run / "checkpoints/best.ckpt")
    words = load(run).vocabulary.words
    weight = next(value for name, value in state.items() if name.endswith("word.weight"))
    for word in ("dog", "emu", "emus"):
        assert weight[words.index(word)].tolist() == pytest.approx(vector(word), abs=1e-6)


def test_a_word_that_no_caption_has_is_said_where_a_constraint_asks_for_it(run, folder, tmp_path) -> None:
    common = [f"run={run}", f"features={folder}/f.h5", f"out={tmp_path}/p.json"]
    assert main(["predict", *common, f"constraints={folder}/constraints.json", "device=cpu"]) == 0
    for record in json.loads((tmp_path / "p.json").read_text()):
        assert record["met"] == record["constraints"] == 2
        assert {"emu", "emus"} & set(record["caption"].split())


def test_a_word_that_no_caption_has_is_said_like_the_one_whose_vector_is_near(run, folder) -> None:
    trained, store = load(run), FeatureStore(folder / "f.h5")
    words = trained.vocabulary.words
    memory = trained.model.encode(trained.region_input.load(store, store.image_ids))
    state = trained.model.init_state(memory, 1)
    with torch.no_grad():
        logits, _, _ = trained.model.step(torch.full((6, 1), BOS), memory, state)
    emu, dog, others = (
        logits[..., [words.index(w) for w in some]] for some in (["emu"], ["dog"], ["bed", "two"])
    )
    assert ((emu - dog).abs() < 0.1 * (others - dog).abs()).all()


def test_words_without_a_vector_have_one_of_the_same_mean_and_deviation(tmp_path) -> None:
    rng = np.random.default_rng(0)
    lines = [f"w{n} " + " ".join(map(str, 3 + 5 * rng.normal(size=4))) for n in range(400)]
    (tmp_path / "v.txt").write_text("\n".join(lines))
    model = torch.nn.Module()
    model.word = torch.nn.Embedding(804, 4)
    words = [*SPECIAL, *(f"w{n}" for n in range(800))]
    init_caption_embeddings(model, str(tmp_path / "v.txt"), words)
    missing = model.word.weight.detach()[[0, 1, 2, 3, *range(404, 804)]]
    assert missing.mean().item() == pytest.approx(3, abs=0.5)
    assert missing.std().item() == pytest.approx(5, rel=0.1)


def test_words_that_do_not_learn_need_vectors(folder, tmp_path, capfd) -> None:
    given = [f"{key}={folder}/c.json" for key in ("train", "val")] + [f"features={folder}/f.h5"]
    fixed = ["experiment=updown_nocaps_xe", "model.fixed_words=true", f"out={tmp_path}/run", *SIZES]
    assert main(["train", *given, *fixed, "data.vocabulary.min_count=1"]) == 2
    assert "need objective.word_vectors=FILE" in capfd.readouterr().err.strip().splitlines()[-1]


def test_a_run_goes_on_without_its_vectors_and_knows_which_they_were(folder, tmp_path) -> None:
    vectors = tmp_path / "moved.txt"
    vectors.write_bytes((folder / "vectors.txt").read_bytes())
    given = [f"{key}={folder}/c.json" for key in ("train", "val")] + [f"features={folder}/f.h5"]
    given += [f"vectors={vectors}", f"words={folder}/names.txt", f"out={tmp_path}/run=1", *SIZES]
    short = ["data.vocabulary.min_count=1", "data.batch_size=2", "data.num_workers=0"]
    short += ["trainer.val_check_interval=1"]
    command = ["train", "experiment=updown_nocaps_cbs_xe", *given, *short]
    assert main([*command, "trainer.max_steps=1"]) == 0
    sources = json.loads((tmp_path / "run=1/provenance.json").read_text())["sources"]
    assert {"word_vectors", "also"} <= sources.keys()
    vectors.unlink()
    assert main([*command, "trainer.max_steps=2", "resume=true"]) == 0


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("data.vocabulary.file=v.json", "file=v.json says which words are known"),
        ("data.vocabulary.tokenizer=sentencepiece", "tokenizer sentencepiece needs a number of pieces"),
        ("model.word_size=9", "vectors.txt:1: 'a' has 8 numbers, expected 9"),
        ("words=none.txt", "none.txt: file does not exist"),
    ],
)
def test_words_that_cannot_be_added_are_one_line(word: str, said: str, folder, tmp_path, capfd) -> None:
    given = [f"{key}={folder}/c.json" for key in ("train", "val")] + [f"features={folder}/f.h5"]
    given += [f"vectors={folder}/vectors.txt", f"words={folder}/c.json", f"out={tmp_path}/run"]
    short = ["data.vocabulary.min_count=1", "trainer.max_steps=1", "data.num_workers=0"]
    assert main(["train", "experiment=updown_nocaps_cbs_xe", *given, *SIZES, *short, word]) == 2
    assert said in capfd.readouterr().err.strip().splitlines()[-1]
