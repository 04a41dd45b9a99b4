"""Studies: what their tables say of results that are not whole, and what is not done again."""

import json

import pytest

from experiments import rates, study
from experiments.captioning import run
from experiments.readme import captioning, vqa
from experiments.study import PICTURES


def runs(seeds: int, objective: str, cider: float) -> list[dict]:
    split = {"CIDEr": cider, "bad_endings": 0.0, "repeated": 0.1, "iou_accuracy": 0.5}
    split |= {"iou_chance": 0.1, "pointing_accuracy": 0.6, "pointing_chance": 0.2, "attention_mass": 0.3}
    about = {"model": "updown", "features": "regions", "objective": objective, "minutes": 1.0}
    return [{**about, "seed": seed, "test": split, "novel": split} for seed in range(seeds)]


def results(of: list[dict]) -> dict:
    return {"pictures": study.PICTURES, "seeds": 3, "jobs": 2, "minutes": None, "runs": of}


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_a_cell_is_empty_until_every_seed_is_there(seeds: int) -> None:
    text = captioning(results(runs(3, "cross_entropy", 1.0) + runs(seeds, "self_critical", 1.5)))
    assert "1.000 ± 0.000" in text
    assert "1.500" not in text
    assert "+0.500" not in text


def test_a_gain_is_that_of_the_same_seeds() -> None:
    assert "+0.500 ± 0.000" in captioning(
        results(runs(3, "cross_entropy", 1.0) + runs(3, "self_critical", 1.5))
    )


def test_a_study_without_runs_says_so() -> None:
    for tables in (captioning, vqa):
        assert "No training is finished yet" in tables(results([]))


@pytest.mark.parametrize(
    ("words", "pictures", "more"), [((2,), run.FEWER, ""), ((2, "more"), PICTURES, "more")]
)
def test_more_pictures_are_a_study_of_their_own(words, pictures, more, tmp_path, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(run, "run_study", lambda *given: asked.append(given))
    run.main(tmp_path, *words)
    (given,) = asked
    assert given[-2:] == (pictures, more)
    assert len(given[4]) == len(set(given[4])) == 78
    with pytest.raises(SystemExit, match="moer: OUT"):
        run.main(tmp_path, 2, "moer")


def test_a_folder_with_other_pictures_is_refused_in_one_line(tmp_path, monkeypatch) -> None:
    made = []
    monkeypatch.setattr(study, "bua", lambda *words: made.append(words[0]))
    monkeypatch.setattr(study, "cells", lambda scenes, path: None)
    study.prepare(tmp_path / "a", {"train": 7})
    study.prepare(tmp_path / "a", {"train": 7})
    assert made[0] == "scenes"
    with pytest.raises(SystemExit, match=r"a: its pictures are .*7.*, not .*8.*; give another OUT"):
        study.prepare(tmp_path / "a", {"train": 8})


def test_results_of_a_study_are_named_after_what_its_command_asks_for(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(study, "prepare", lambda out, pictures: None)
    monkeypatch.setattr(study, "in_parallel", lambda job, every, jobs: None)
    for more, name in (("", "results.json"), ("more", "more.json")):
        study.run_study(tmp_path / "out", tmp_path, print, [], [], 2, {"train": 7}, more)
        found = json.loads((tmp_path / name).read_text())
        assert found["command"].endswith(f"run OUT 2 {more}".rstrip())
        assert found["pictures"] == {"train": 7}


def test_a_trial_of_a_rate_that_was_interrupted_is_done_again(tmp_path, monkeypatch) -> None:
    tried, broken = [], True

    def train(*words: str) -> None:
        run = tmp_path / "rates/folder-2-epochs-m-0.1"
        assert f"out={run}" in words
        assert not (run / "metrics.csv").exists()
        run.mkdir(parents=True)
        (run / "metrics.csv").write_text("epoch,val/CIDEr\n0,0.5\n" + ("" if broken else "1,0.25\n2,0.75\n"))
        tried.append(broken)
        if broken:
            raise KeyboardInterrupt

    monkeypatch.setattr(rates, "bua", train)
    monkeypatch.setattr(rates, "prepare", lambda out: None)
    monkeypatch.setattr(rates, "in_parallel", lambda job, every, jobs: [job(*one) for one in every])
    (tmp_path / "folder").mkdir()
    arguments = [tmp_path, tmp_path / "folder", {"m": [0.1]}, lambda model: [], 2, "val/CIDEr", 1]
    with pytest.raises(KeyboardInterrupt):
        rates.try_rates(*arguments)
    broken = False
    rates.try_rates(*arguments)
    rates.try_rates(*arguments)
    assert tried == [True, False]
    found = json.loads((tmp_path / "folder/rates.json").read_text())
    assert found["tried"] == [{"model": "m", "rate": 0.1, "val": 0.75}]
