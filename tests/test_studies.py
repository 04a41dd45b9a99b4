"""Studies: their tables show only complete results, and finished runs are not repeated."""

import json
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig

from experiments import scenes as scenes_of_studies
from experiments.captioning import score as captioning_score
from experiments.readme import captioning, rates, vqa
from experiments.scenes import IMAGES
from experiments.vqa import score as vqa_score
from tests.helpers.commands import run_ok
from tests.helpers.parity import ROOT


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


def test_a_folder_with_another_number_of_images_is_refused_in_one_line(tmp_path, monkeypatch) -> None:
    commands = []
    monkeypatch.setattr(scenes_of_studies, "bua", lambda *words: commands.append(words[0]))
    monkeypatch.setattr(scenes_of_studies, "write_grid_boxes", lambda scenes, path: None)
    scenes_of_studies.prepare(tmp_path / "a", {"train": 7})
    scenes_of_studies.prepare(tmp_path / "a", {"train": 7})
    assert commands[0] == "scenes"
    with pytest.raises(SystemExit, match=r"a: holds the images .*7.*, not .*8.*; give another STUDY"):
        scenes_of_studies.prepare(tmp_path / "a", {"train": 8})


@pytest.fixture
def study(scenes, tmp_path) -> Path:
    """The data of a study, with the same features for regions and for the grid."""
    (tmp_path / "scenes").symlink_to(scenes)
    for kind in ("regions", "grid"):
        (tmp_path / f"{kind}.h5").symlink_to(scenes / "regions.h5")
    (tmp_path / "images.json").write_text(json.dumps(IMAGES))
    return tmp_path


SMALL = ["seed=0", "trainer.max_epochs=1", "hydra/launcher=basic"]


def sweep(folder: str, search: str, study: Path, *more: str) -> None:
    config = f"--config-dir={ROOT}/experiments/{folder}"
    run_ok("train", "-m", config, f"hparams_search={search}", f"study={study}", *SMALL, *more)


@pytest.mark.slow
def test_the_captioning_study_is_three_sweeps_and_their_scores(study, tmp_path, monkeypatch) -> None:
    small = ["model=updown_small", "kind=regions", "model.hidden_size=16"]
    for search in captioning_score.SWEEPS:
        sweep("captioning", search, study, *small)
    sweep("captioning", "rates", study, "model=updown_small,transformer_small", "optimizer.lr=1e-3")
    monkeypatch.setattr(captioning_score, "__file__", str(tmp_path / "score.py"))
    captioning_score.main(study)
    captioning_score.main(study, "rates")
    results = json.loads((tmp_path / "results.json").read_text())
    assert [run["objective"] for run in results["runs"]] == list(captioning_score.SWEEPS)
    assert {(run["model"], run["features"], run["seed"]) for run in results["runs"]} == {
        ("updown", "regions", 0)
    }
    assert "| Up-Down | regions |" in captioning(results)
    start = yaml.safe_load(next((study / "self_critical").glob("*/config.yaml")).read_text())["init_from"]
    assert start == str(next((study / "cross_entropy").glob("model=*")))
    tried = json.loads((tmp_path / "rates.json").read_text())
    assert {one["model"]: one["rate"] for one in tried["tried"]} == {"updown": 1e-3, "transformer": 1e-3}
    assert "| Up-Down | 0.001 |" in rates(tried)
    with pytest.raises(SystemExit, match=r"moer: the arguments are STUDY \[rates|more\]"):
        captioning_score.main(study, "moer")


@pytest.mark.slow
def test_the_vqa_study_is_three_sweeps_and_their_scores(study, tmp_path, monkeypatch) -> None:
    sweep("vqa", "models", study, "experiment=study_updown_hu,study_ban", "kind=regions")
    sweep("vqa", "baselines", study, "experiment=study_question_only")
    monkeypatch.setattr(vqa_score, "__file__", str(tmp_path / "score.py"))
    vqa_score.main(study)
    results = json.loads((tmp_path / "results.json").read_text())
    assert [run["model"] for run in results["runs"]] == ["ban", "updown_hu", "question_only"]
    assert {run["epochs"] for run in results["runs"]} == {1}


@pytest.mark.parametrize("folder", ["captioning", "vqa"])
def test_every_model_of_a_study_composes_with_its_own_rate(folder, study) -> None:
    for path in sorted((ROOT / "experiments" / folder / "hparams_search").glob("*.yaml")):
        group, models = next(iter(search_params(folder, path.stem, study).items()))
        rates = {}
        for model in str(models).split(","):
            config = compose_search(folder, path.stem, study, [f"{group}={model}", "kind=grid"])
            rates[model] = config.optimizer.lr
            assert config.features == f"{study}/grid.h5"
        assert all(0 < rate < 0.02 for rate in rates.values())
        assert len(set(rates.values())) > 1 or path.stem in ("baselines", "longer")


def compose_search(folder: str, search: str, study: Path, words: list[str]):
    searchpath = f"hydra.searchpath=[file://{ROOT}/experiments/{folder}]"
    choice = [f"hparams_search={search}", f"study={study}", searchpath, *words]
    with initialize_config_module("bua.conf", version_base="1.3"):
        config = compose("train", choice, return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    return config


def search_params(folder: str, search: str, study: Path) -> dict[str, object]:
    return dict(compose_search(folder, search, study, []).hydra.sweeper.params)
