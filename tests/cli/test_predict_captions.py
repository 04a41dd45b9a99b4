"""``bua predict`` of captioners, on small scenes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from bua.decode import BeamSearch, Rules
from bua.detectors.extract import ExtractionOptions, extract
from bua.detectors.photo_files import find_photos
from bua.detectors.random_detector import RandomDetector
from bua.engine.loading import load
from bua.errors import InputError
from bua.inference.ensemble import Ensemble, StoredImages
from bua.store import FeatureStore, StoreMetadata, StoreWriter
from tests.helpers.captioners import train_captioners, training
from tests.helpers.commands import run_error, run_ok
from tests.helpers.parity import ROOT
from tests.helpers.stores import regions, write_store

DECODINGS = ("beam", "greedy", "caffe", "no_repeat", "diverse", "sample", "nucleus", "updown_baseline")


@pytest.fixture(scope="module")
def runs(scenes, tmp_path_factory) -> Path:
    return train_captioners(scenes, tmp_path_factory.mktemp("runs"))


@pytest.mark.slow
@pytest.mark.parametrize("decode", DECODINGS)
def test_every_decoding_captions_every_image(decode, runs, scenes, tmp_path) -> None:
    out = tmp_path / "p.json"
    more = "scores=true" if decode == "greedy" else "n_best=3"
    run_ok("predict", f"run={runs}/scst", "split=val", f"out={out}", f"decode={decode}", more)
    found = json.loads(out.read_text())
    ids = {image["id"] for image in json.loads((scenes / "captions_val.json").read_text())["images"]}
    assert {one["image_id"] for one in found} == ids
    for one in found:
        candidates = one.get("candidates", [one])
        assert one["caption"] == candidates[0]["caption"]
        assert all(c["log_prob"] < 0 for c in candidates)


def test_every_decoding_is_tested() -> None:
    names = {path.stem for path in (ROOT / "conf/decode").glob("*.yaml")}
    assert names == set(DECODINGS)


@pytest.mark.slow
def test_sampled_captions_depend_on_the_seed_alone(runs, tmp_path) -> None:
    common = ["predict", f"run={runs}/scst", "split=val", "decode=sample", "n_best=3"]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run_ok(*common, f"out={tmp_path}/{name}.json", f"seed={seed}")
    a, b, c = ((tmp_path / f"{name}.json").read_text() for name in "abc")
    assert a == b != c


@pytest.mark.slow
def test_an_ensemble_of_different_models_predicts(runs, tmp_path) -> None:
    common = ["predict", f"run={runs}/scst", "split=val", "decode.rules.min_length=4", "n_best=2"]
    run_ok(*common, f"ensemble=[{runs}/mean]", f"out={tmp_path}/both.json")
    run_ok(*common, f"ensemble=[{runs}/scst]", f"out={tmp_path}/same.json")
    run_ok(*common, f"out={tmp_path}/one.json")
    both, same, one = (
        [c for found in json.loads((tmp_path / f"{name}.json").read_text()) for c in found["candidates"]]
        for name in ("both", "same", "one")
    )
    run_ok(*common, f"ensemble=[{runs}/mean]", "ensemble_weights=[1,1e-6]", f"out={tmp_path}/nearly.json")
    nearly = json.loads((tmp_path / "nearly.json").read_text())
    assert [c["caption"] for found in nearly for c in found["candidates"]] == [c["caption"] for c in one]
    assert [c["caption"] for c in same] == [c["caption"] for c in one]
    assert [c["log_prob"] for c in same] == pytest.approx([c["log_prob"] for c in one], abs=1e-4)
    assert both != one


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["[1]", "[1,0]", "[1,x]", "2", "[1,2,3]"])
def test_invalid_ensemble_weights_are_reported(weights, runs, tmp_path, capfd) -> None:
    capfd.readouterr()
    common = ["predict", f"run={runs}/scst", "split=val", f"out={tmp_path}/p.json"]
    assert "ensemble_weights=" in run_error(
        capfd, *common, f"ensemble=[{runs}/mean]", f"ensemble_weights={weights}"
    )
    assert "ensemble_weights=[1, 2]: must be a list of 1 numbers" in run_error(
        capfd, *common, "ensemble_weights=[1,2]"
    )


def test_the_attended_regions_of_every_word_are_written_on_request(runs, tmp_path) -> None:
    out = tmp_path / "p.json"
    run_ok("predict", f"run={runs}/scst", "split=val", f"out={out}", "attention=2", "scores=true")
    for record in json.loads(out.read_text()):
        assert [word["word"] for word in record["attention"]] == record["caption"].split()
        assert record["log_prob"] < 0
        for word in record["attention"]:
            first, second = word["regions"]
            assert first["weight"] >= second["weight"]
            assert len(first["box"]) == 4


def test_every_candidate_has_the_attended_regions_of_its_words(runs, tmp_path) -> None:
    out = tmp_path / "p.json"
    run_ok("predict", f"run={runs}/scst", "split=val", f"out={out}", "attention=2", "n_best=3")
    for record in json.loads(out.read_text()):
        assert set(record) == {"image_id", "caption", "attention", "candidates"}
        assert len({one["caption"] for one in record["candidates"]}) == 3
        assert record["attention"] == record["candidates"][0]["attention"]
        for one in record["candidates"]:
            assert set(one) == {"caption", "log_prob", "attention"}
            assert [word["word"] for word in one["attention"]] == one["caption"].split()
            assert all(len(word["regions"]) == 2 for word in one["attention"])


def test_a_captioner_rejects_questions(runs, tmp_path, capfd) -> None:
    line = run_error(capfd, "predict", f"run={runs}/scst", "questions=q.json", f"out={tmp_path}/p.json")
    assert line == f"bua predict: questions=q.json: {runs}/scst captions images and does not take it"


@pytest.mark.slow
def test_mixed_precision_predicts_nearly_the_same(runs, tmp_path, capfd) -> None:
    common = [
        "predict",
        f"run={runs}/scst",
        "split=val",
        "decode=greedy",
        "decode.rules.min_length=4",
        "scores=true",
    ]
    run_ok(*common, f"out={tmp_path}/full.json")
    run_ok(*common, f"out={tmp_path}/mixed.json", "precision=bf16-mixed", "device=cpu")
    full, mixed = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("full", "mixed"))
    pairs = [(a["log_prob"], b["log_prob"]) for a, b in zip(full, mixed, strict=True)]
    assert all(a == pytest.approx(b, rel=0.05) for a, b in pairs)
    assert any(a != b for a, b in pairs)
    capfd.readouterr()
    assert "16-mixed needs a GPU" in run_error(
        capfd, *common, "out=p.json", "precision=16-mixed", "device=cpu"
    )


@pytest.mark.slow
def test_captioners_of_other_vocabularies_are_no_ensemble(runs, scenes, tmp_path, capfd) -> None:
    run_ok(*training(scenes, tmp_path / "few", "data.vocabulary.min_count=9", "model.attention_size=6"))
    capfd.readouterr()
    line = run_error(capfd, "predict", f"run={runs}/xe", f"ensemble=[{tmp_path}/few]", "out=p.json")
    assert "few: its vocabulary is not that of" in line


@pytest.mark.slow
def test_captioners_of_different_regions_are_an_ensemble(runs, scenes, tmp_path, capfd) -> None:
    """One member appends boxes to its features; the other has regions of another detector."""
    run_ok(*training(scenes, tmp_path / "boxes", "data.geometry=3"))
    detector = RandomDetector(feature_size=7, min_regions=3, max_regions=7, seed=1)
    options = ExtractionOptions(batch_size=8, shard_size=20, num_workers=0, dtype="float16", max_errors=0)
    extract(find_photos(scenes / "images"), detector, tmp_path / "other.h5", options)
    run_ok(*training(scenes, tmp_path / "other", f"features={tmp_path}/other.h5"))
    common = ["predict", f"run={runs}/xe", "split=val", "attention=1"]
    run_ok(*common, f"ensemble=[{tmp_path}/boxes,{tmp_path}/other]", f"out={tmp_path}/p.json")
    found = json.loads((tmp_path / "p.json").read_text())
    store = FeatureStore(scenes / "regions.h5")
    for one in found:
        boxes = store[one["image_id"]].boxes.round(1).tolist()
        attended = [region["box"] for word in one["attention"] for region in word["regions"]]
        assert all(any(box == pytest.approx(other, abs=0.11) for other in boxes) for box in attended)
    ensemble = Ensemble([load(run) for run in (runs / "xe", tmp_path / "boxes", tmp_path / "other")])
    ids = {one["image_id"]: one["image_id"] for one in found}
    images = [StoredImages(s, ids) for s in (store, store, FeatureStore(tmp_path / "other.h5"))]
    captions = ensemble.caption_batch(ensemble.read_regions(images, ids))
    assert [candidates[0].text for candidates in captions] == [one["caption"] for one in found]
    with pytest.raises(InputError, match="features of a different detector"):
        ensemble.caption(scenes / "images" / sorted(p.name for p in (scenes / "images").iterdir())[0])


@pytest.mark.slow
def test_an_image_without_features_for_a_member_of_an_ensemble_is_reported(
    runs, scenes, tmp_path, capfd
) -> None:
    few = FeatureStore(scenes / "regions.h5")
    with StoreWriter(tmp_path / "few.h5", few.metadata) as writer:
        writer.write([(i, few[i]) for i in few.image_ids[:3]])
        writer.pack(few.image_ids[:3])
    shutil.copytree(runs / "mean", tmp_path / "mean")
    config = yaml.safe_load((tmp_path / "mean/config.yaml").read_text())
    config["data"]["features"] = str(tmp_path / "few.h5")
    (tmp_path / "mean/config.yaml").write_text(yaml.safe_dump(config))
    line = run_error(
        capfd, "predict", f"run={runs}/xe", f"ensemble=[{tmp_path}/mean]", f"out={tmp_path}/p.json"
    )
    assert "few.h5: must also hold image 1000003, for " in line
    assert line.endswith(f"{tmp_path}/mean")


@pytest.mark.slow
def test_empty_captions_are_counted_by_predict_and_score(runs, scenes, tmp_path, capfd) -> None:
    capfd.readouterr()
    common = ["predict", f"run={runs}/xe", "split=val", f"out={tmp_path}/p.json"]
    vocabulary = load(runs / "xe").vocabulary.words
    run_ok(*common, f"decode.rules.bad_words=[{','.join(w for w in vocabulary if w.isalpha())}]")
    assert (
        "8 of 8 captions are empty; train longer, or forbid it with decode.rules.min_length=1"
        in capfd.readouterr().out
    )
    score = ["score", "task=caption", f"predictions={tmp_path}/p.json", "tokenizer=python", "metrics=[cider]"]
    run_ok(*score, f"references={scenes}/captions_val.json", f"out={tmp_path}/s.json")
    assert "8 of 8 captions are empty" in capfd.readouterr().out
    run_ok(*common, "decode.rules.min_length=1")
    assert "are empty" not in capfd.readouterr().out


WITHOUT_EFFECT = {
    "n_best=6": "n_best=6: the search returns at most 5 captions; give a larger decode.beam_size",
    "ids={scenes}/none.txt images={scenes}/captions_val.json": "none.txt: image 77 is not in",
    "split=val images={scenes}/captions_val.json": "captions_val.json: has no splits, as its format is COCO",
    "split=val images={scenes}/few.txt": "split=val: {scenes}/few.txt is a list of ids without splits",
}


def test_options_without_effect_are_listed() -> None:
    assert len(WITHOUT_EFFECT) == 4


@pytest.mark.slow
@pytest.mark.parametrize("words", WITHOUT_EFFECT)
def test_options_without_effect_are_reported(words, runs, scenes, tmp_path, capfd) -> None:
    first = json.loads((scenes / "captions_val.json").read_text())["images"][0]["id"]
    (scenes / "few.txt").write_text(f"{first}\n")
    (scenes / "none.txt").write_text("77\n")
    given = words.format(scenes=scenes).split()
    line = run_error(capfd, "predict", f"run={runs}/xe", *given, f"out={tmp_path}/p.json")
    assert WITHOUT_EFFECT[words].format(scenes=scenes) in line


@pytest.mark.slow
def test_features_of_another_size_are_rejected_even_if_others_are_allowed(runs, tmp_path, capfd) -> None:
    path = write_store(tmp_path / "wide.h5", {1: regions(3, 9)})
    for more in ([], ["n_best=2"]):
        line = run_error(
            capfd,
            "predict",
            f"run={runs}/xe",
            f"features={path}",
            "allow_other_features=true",
            "out=p.json",
            *more,
        )
        assert f"wide.h5: features have size 9; {runs}/xe was trained on size 12" in line


@pytest.mark.slow
def test_constraints_are_satisfied_and_unknown_words_are_reported(runs, scenes, tmp_path, capfd) -> None:
    images = json.loads((scenes / "captions_val.json").read_text())["images"]
    first, second = (str(image["id"]) for image in images[:2])
    constraints = {first: [["zeppelin", "tree"], "ball"], second: ["zeppelin"]}
    (tmp_path / "c.json").write_text(json.dumps(constraints))
    common = ["predict", f"run={runs}/scst", "split=val", f"out={tmp_path}/p.json"]
    run_ok(*common, f"constraints={tmp_path}/c.json")
    captured = capfd.readouterr()
    assert "c.json: 1 constraints are ignored: the vocabulary lacks zeppelin" in captured.err + captured.out
    found = json.loads((tmp_path / "p.json").read_text())
    words = {str(one["image_id"]): one["caption"].split() for one in found}
    assert {"tree", "ball"} <= set(words[first])
    satisfied = {str(one["image_id"]): (one["satisfied"], one["constraints"]) for one in found}
    assert satisfied[first] == (2, 2)
    assert satisfied[second] == (0, 1)
    assert set(satisfied.values()) == {(2, 2), (0, 1), (0, 0)}
    assert (
        "2 of 3 constraints are satisfied; 1 of 2 images with constraints satisfy all of them" in captured.out
    )
    assert "required=1: needs constraints=FILE" in run_error(capfd, *common, "required=1")
    line = run_error(capfd, *common, f"constraints={tmp_path}/c.json", "decode=sample")
    assert "need decode=beam" in line
    (tmp_path / "c.json").write_text(json.dumps({first: [[]]}))
    assert f"c.json: image {first}: [] is not a text" in run_error(
        capfd, *common, f"constraints={tmp_path}/c.json"
    )


def test_constrained_batches_are_limited_by_the_states_of_their_automata(
    runs, scenes, tmp_path, monkeypatch
) -> None:
    ids = [image["id"] for image in json.loads((scenes / "captions_val.json").read_text())["images"]]
    constraints = {str(i): ["ball", "tree", "a red"][: n % 4] for n, i in enumerate(ids)}
    (tmp_path / "c.json").write_text(json.dumps(constraints))
    batches = []

    def recording_caption_batch(ensemble, regions, *, decoder, automaton):
        batches.append((len(regions[0].mask), automaton.num_states))
        return caption_batch(ensemble, regions, decoder=decoder, automaton=automaton)

    caption_batch = Ensemble.caption_batch
    monkeypatch.setattr(Ensemble, "caption_batch", recording_caption_batch)
    common = ["predict", f"run={runs}/scst", "split=val", f"constraints={tmp_path}/c.json"]
    written = []
    for size in (100, 9, 1):
        batches.clear()
        run_ok(*common, f"out={tmp_path}/p.json", f"batch_size={size}")
        assert sum(count for count, _ in batches) == len(ids)
        assert all(count * states <= size or count == 1 for count, states in batches)
        written.append([one["caption"] for one in json.loads((tmp_path / "p.json").read_text())])
    assert written[0] == written[1] == written[2]


@pytest.mark.slow
def test_rules_are_given_in_words(runs, scenes) -> None:
    predictor = load(runs / "xe")
    store = FeatureStore(scenes / "regions.h5")
    unrestricted = BeamSearch(3, 8, rules=Rules(min_length=4))
    banned = predictor.caption(store[store.image_ids[0]], decoder=unrestricted).words[0]
    search = BeamSearch(3, 8, rules=Rules(bad_words=(banned, "no such word"), min_length=4))
    regions = predictor.region_input.load(store, store.image_ids[:5])
    for candidates in predictor.caption_batch(regions, decoder=search):
        assert all(banned not in caption.words and len(caption.words) >= 4 for caption in candidates)


def test_words_of_rules_outside_the_vocabulary_are_reported_once(runs, tmp_path, capfd) -> None:
    common = ["predict", f"run={runs}/scst", "split=val", f"out={tmp_path}/p.json", "batch_size=2"]
    run_ok(*common, "decode.rules.bad_words=[Treee,tree]", "decode.rules.bad_endings=[whith,oof]")
    output = "".join(capfd.readouterr())
    assert output.count("rules.bad_words: has no effect for Treee, which the vocabulary lacks") == 1
    assert output.count("rules.bad_endings: has no effect for whith, oof, which the vocabulary lacks") == 1


def test_detected_objects_become_constraints(tmp_path, capfd) -> None:
    def store(name: str, classes: tuple[str, ...], **columns: object) -> Path:
        metadata = StoreMetadata("d", {}, "0", class_names=classes)
        with StoreWriter(tmp_path / name, metadata) as writer:
            writer.write([(n, replace(regions(2), **columns)) for n in (1, 2)])
            writer.pack([1, 2])
        return tmp_path / name

    ids, scores = np.array([1, 0], np.int32), np.array([0.9, 0.4], np.float32)
    path = store("f.h5", ("dog", "bus"), class_id=ids, class_score=scores)
    command = ["captions", "constraints", f"out={tmp_path}/c.json"]
    run_ok(*command, f"features={path}")
    expected = [["bus", "buses"], ["dog", "dogs"]]
    assert json.loads((tmp_path / "c.json").read_text()) == {"1": expected, "2": expected}
    run_ok(*command, f"features={path}", "score_threshold=0.5", "exclude=[dog]")
    assert json.loads((tmp_path / "c.json").read_text())["1"] == expected[:1]
    capfd.readouterr()
    assert "exclude=cow: " in run_error(capfd, *command, f"features={path}", "exclude=[cow]")
    assert "no named classes" in run_error(capfd, *command, f"features={store('g.h5', ())}")
