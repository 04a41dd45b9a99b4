"""Words that no training caption has are known by their vectors and satisfy constraints."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bua.engine.loading import load, read_checkpoint
from bua.store import FeatureStore, Regions
from bua.tasks.embeddings import init_caption_embeddings
from bua.text.vocabulary import BOS, SPECIAL, UNKNOWN
from tests.helpers.commands import run_error, run_ok
from tests.helpers.stores import METADATA, write_store

SIZES = ["model.word_size=8", "model.hidden_size=12", "model.attention_size=6", "trainer.accelerator=cpu"]
TEXTS = ["a dog runs on the grass", "two dogs sleep on the grass", "a dog on a bed"]


def vector(word: str) -> list[float]:
    """Return the vector of a word; those of emus are close to those of dogs."""
    rng = np.random.default_rng(sum(word.replace("emu", "dog").encode()))
    return [round(float(x), 4) for x in rng.normal(size=8) + (0.01 if "emu" in word else 0)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder of captions of dogs, vectors for all words (except "the") and emus, and regions."""
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


def data_files(folder: Path) -> list[str]:
    """Return the overrides for features and captions."""
    captions = [f"{key}={folder}/c.json" for key in ("captions", "val_captions")]
    return [f"features={folder}/f.h5", *captions]


@pytest.fixture(scope="module")
def run(folder) -> Path:
    """Return the run of a captioner that knows emus only by their vectors."""
    common = [f"features={folder}/f.h5", f"out={folder}/constraints.json", f"extra_words={folder}/names.txt"]
    run_ok("captions", "constraints", *common, "max_constraints=2")
    files = [*data_files(folder), f"word_vectors={folder}/vectors.txt", f"extra_words={folder}/names.txt"]
    short = ["data.vocabulary.min_count=1", "data.batch_size=2", "trainer.max_steps=3", "data.num_workers=0"]
    short += ["trainer.val_check_interval=1", "data.vocabulary.tokenizer=karpathy"]
    run_ok("train", "experiment=updown_nocaps_cbs_xe", f"out={folder}/run", *files, *SIZES, *short)
    return folder / "run"


def test_class_names_are_written_in_singular_and_plural(run, folder) -> None:
    assert (folder / "names.txt").read_text().split() == ["dog", "dogs", "emu", "emus"]


def test_extra_words_follow_those_of_the_captions_in_the_vocabulary(run) -> None:
    words = load(run).vocabulary.words
    assert words[-2:] == ("emu", "emus")
    assert len(set(words)) == len(words)


def test_word_embeddings_are_still_the_vectors_of_the_file_after_training(run) -> None:
    _, state = read_checkpoint(run / "checkpoints/best.ckpt")
    words = load(run).vocabulary.words
    weight = next(value for name, value in state.items() if name.endswith("word.weight"))
    for word in ("dog", "emu", "emus"):
        assert weight[words.index(word)].tolist() == pytest.approx(vector(word), abs=1e-6)


def test_words_that_no_training_caption_has_satisfy_constraints(run, folder, tmp_path) -> None:
    common = [f"run={run}", f"features={folder}/f.h5", f"out={tmp_path}/p.json"]
    run_ok("predict", *common, f"constraints={folder}/constraints.json", "device=cpu")
    for record in json.loads((tmp_path / "p.json").read_text()):
        assert record["satisfied"] == record["constraints"] == 2
        assert {"emu", "emus"} & set(record["caption"].split())


def test_words_with_similar_vectors_have_similar_scores(run, folder) -> None:
    predictor, store = load(run), FeatureStore(folder / "f.h5")
    words = predictor.vocabulary.words
    memory = predictor.model.encode(predictor.region_input.load(store, store.image_ids))
    state = predictor.model.init_state(memory, 1)
    with torch.no_grad():
        logits, _, _ = predictor.model.step(torch.full((6, 1), BOS), memory, state)
    emu, dog, others = (
        logits[..., [words.index(w) for w in group]] for group in (["emu"], ["dog"], ["bed", "two"])
    )
    assert (emu - dog).abs().max() < 0.2 * (others - dog).abs().mean()


def test_words_without_a_vector_get_one_with_the_mean_and_deviation_of_the_others(tmp_path) -> None:
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


def test_an_unknown_word_whose_vector_is_fixed_at_zero_stays_so(tmp_path) -> None:
    (tmp_path / "v.txt").write_text("w 1 2\n")
    model = torch.nn.Module()
    model.word = torch.nn.Embedding(5, 2, padding_idx=UNKNOWN)
    init_caption_embeddings(model, str(tmp_path / "v.txt"), [*SPECIAL, "w"])
    assert model.word.weight[UNKNOWN].tolist() == [0, 0]


def test_fixed_word_embeddings_need_vectors(folder, tmp_path, capfd) -> None:
    fixed = ["experiment=updown_nocaps_xe", "model.fixed_words=true", f"out={tmp_path}/run", *SIZES]
    line = run_error(capfd, "train", *data_files(folder), *fixed, "data.vocabulary.min_count=1")
    assert "need objective.word_vectors=FILE" in line


def test_a_run_resumes_without_its_vectors_and_records_their_file(folder, tmp_path) -> None:
    vectors = tmp_path / "moved.txt"
    vectors.write_bytes((folder / "vectors.txt").read_bytes())
    files = [*data_files(folder), f"word_vectors={vectors}", f"extra_words={folder}/names.txt"]
    short = ["data.vocabulary.min_count=1", "data.batch_size=2", "data.num_workers=0"]
    short += ["trainer.val_check_interval=1"]
    command = ["train", "experiment=updown_nocaps_cbs_xe", f"out={tmp_path}/run=1", *files, *SIZES, *short]
    run_ok(*command, "trainer.max_steps=1")
    sources = json.loads((tmp_path / "run=1/provenance.json").read_text())["sources"]
    assert {"word_vectors", "extra_words"} <= sources.keys()
    vectors.unlink()
    run_ok(*command, "trainer.max_steps=2", "resume=true")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.vocabulary.file=v.json", "file=v.json already lists all words"),
        (
            "data.vocabulary.tokenizer=sentencepiece",
            "data.vocabulary.size: tokenizer sentencepiece needs the number of subwords",
        ),
        ("model.word_size=9", "vectors.txt:1: 'a' has 8 numbers, expected 9"),
        ("extra_words=none.txt", "none.txt: file does not exist"),
    ],
)
def test_extra_words_that_cannot_be_added_are_reported_in_one_line(
    override: str, message: str, folder, tmp_path, capfd
) -> None:
    files = [*data_files(folder), f"word_vectors={folder}/vectors.txt", f"extra_words={folder}/c.json"]
    short = ["data.vocabulary.min_count=1", "trainer.max_steps=1", "data.num_workers=0"]
    command = ["train", "experiment=updown_nocaps_cbs_xe", f"out={tmp_path}/run", *files, *SIZES, *short]
    assert message in run_error(capfd, *command, override)
