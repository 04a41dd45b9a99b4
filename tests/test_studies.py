"""Studies: their tables show only complete results, and finished runs are not repeated."""

import json

import pytest

from experiments import rates, study
from experiments.captioning import run
from experiments.readme import captioning, vqa
from experiments.study import IMAGES


def make_runs(seeds: int, objective: str, cider: float) -> list[dict]:
    split = {"CIDEr": cider, "bad_endings": 0.0, "repeated": 0.1, "iou_accuracy": 0.5}
    split |= {"iou_chance": 0.1, "pointing_accuracy": 0.6, "pointing_chance": 0.2, "attention_mass": 0.3}
    labels = {"model": "updown", "features": "regions", "objective": objective, "minutes": 1.0}
    return [{**labels, "seed": seed, "test": split, "novel": split} for seed in range(seeds)]


def make_results(runs: list[dict]) -> dict:
    return {"images": IMAGES, "seeds": 3, "jobs": 2, "minutes": None, "runs": runs}


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_a_cell_is_empty_until_all_seeds_are_finished(seeds: int) -> None:
    text = captioning(
        make_results(make_runs(3, "cross_entropy", 1.0) + make_runs(seeds, "self_critical", 1.5))
    )
    assert "1.000 ± 0.000" in text
    assert "1.500" not in text
    assert "+0.500" not in text


def test_gains_compare_runs_of_the_same_seed() -> None:
    runs = make_runs(3, "cross_entropy", 1.0) + make_runs(3, "self_critical", 1.5)
    assert "+0.500 ± 0.000" in captioning(make_results(runs))


def test_the_tables_of_a_study_without_runs_say_so() -> None:
    for tables in (captioning, vqa):
        assert "No training run is finished yet." in tables(make_results([]))


@pytest.mark.parametrize(
    ("arguments", "images", "variant"), [((2,), run.FEWER_IMAGES, ""), ((2, "more"), IMAGES, "more")]
)
def test_more_images_are_a_study_of_their_own(arguments, images, variant, tmp_path, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(run, "run_study", lambda *args: calls.append(args))
    run.main(tmp_path, *arguments)
    [args] = calls
    assert args[-2:] == (images, variant)
    assert len(args[4]) == len(set(args[4])) == 78
    with pytest.raises(SystemExit, match="moer: the arguments are OUT"):
        run.main(tmp_path, 2, "moer")


def test_a_folder_with_another_number_of_images_is_refused_in_one_line(tmp_path, monkeypatch) -> None:
    commands = []
    monkeypatch.setattr(study, "bua", lambda *words: commands.append(words[0]))
    monkeypatch.setattr(study, "write_grid_boxes", lambda scenes, path: None)
    study.prepare(tmp_path / "a", {"train": 7})
    study.prepare(tmp_path / "a", {"train": 7})
    assert commands[0] == "scenes"
    with pytest.raises(SystemExit, match=r"a: holds the images .*7.*, not .*8.*; give another OUT"):
        study.prepare(tmp_path / "a", {"train": 8})


def test_the_file_of_results_is_named_after_the_variant(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(study, "prepare", lambda out, images: None)
    monkeypatch.setattr(study, "in_parallel", lambda job, arguments, processes: None)
    for variant, name in (("", "results.json"), ("more", "more.json")):
        study.run_study(tmp_path / "out", tmp_path, print, [], [], 2, {"train": 7}, variant)
        results = json.loads((tmp_path / name).read_text())
        assert results["command"].endswith(f"run OUT 2 {variant}".rstrip())
        assert results["images"] == {"train": 7}


def test_an_interrupted_run_with_a_learning_rate_is_repeated(tmp_path, monkeypatch) -> None:
    trained, interrupted = [], True

    def train(*words: str) -> None:
        run = tmp_path / "rates/folder-2-epochs-m-0.1"
        assert f"out={run}" in words
        assert not (run / "metrics.csv").exists()
        run.mkdir(parents=True)
        rows = "epoch,val/CIDEr\n0,0.5\n" + ("" if interrupted else "1,0.25\n2,0.75\n")
        (run / "metrics.csv").write_text(rows)
        trained.append(interrupted)
        if interrupted:
            raise KeyboardInterrupt

    monkeypatch.setattr(rates, "bua", train)
    monkeypatch.setattr(rates, "prepare", lambda out: None)
    monkeypatch.setattr(rates, "in_parallel", lambda job, arguments, _: [job(*one) for one in arguments])
    (tmp_path / "folder").mkdir()
    arguments = [tmp_path, tmp_path / "folder", {"m": [0.1]}, lambda model: [], 2, "val/CIDEr", 1]
    with pytest.raises(KeyboardInterrupt):
        rates.compare_rates(*arguments)
    interrupted = False
    rates.compare_rates(*arguments)
    rates.compare_rates(*arguments)
    assert trained == [True, False]
    results = json.loads((tmp_path / "folder/rates.json").read_text())
    assert results["tried"] == [{"model": "m", "rate": 0.1, "val": 0.75}]
