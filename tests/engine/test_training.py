"""``bua.engine``: training and loading from Python, and files that name classes as earlier versions did."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from bua.detectors.detector import detect_regions
from bua.detectors.photo import read_photo
from bua.engine import load, train
from bua.engine.instantiate import instantiate
from bua.errors import InputError
from bua.inference.captioning import CaptionPredictor
from bua.store import FeatureStore, StoreMetadata
from tests.helpers.configurations import compose_config
from tests.helpers.stores import regions, write_store

#: Paths of classes before the packages were regrouped, by today's paths.
EARLIER_PATHS = {
    "bua.tasks.captioning.CaptionCrossEntropyTask": "bua.tasks.cross_entropy.CrossEntropy",
    "bua.tasks.captioning.LossReduction": "bua.tasks.normalise.Normaliser",
    "bua.tasks.captioning.ScheduledSampling": "bua.tasks.cross_entropy.ScheduledSampling",
    "bua.data.captions.datamodule.CaptionDataModule": "bua.data.captions.CaptionDataModule",
    "bua.models.captioners.updown.UpDownCaptioner": "bua.models.updown.UpDownCaptioner",
}


def configuration(scenes: Path, out: Path, *overrides: str):
    return compose_config(
        "train",
        "experiment=caption_scenes",
        f"scenes={scenes}",
        f"out={out}",
        "model.hidden_size=16",
        "model.word_size=8",
        "model.attention_size=8",
        "trainer.max_epochs=2",
        "scheduler=staircase",
        *overrides,
    )


@pytest.fixture(scope="module")
def run(scenes, tmp_path_factory) -> Path:
    """A trained captioner."""
    out = tmp_path_factory.mktemp("engine") / "run"
    train(configuration(scenes, out))
    return out


def rewrite_checkpoints(run: Path, rewrite) -> None:
    for path in (run / "checkpoints").glob("*.ckpt"):
        content = torch.load(path, weights_only=True)
        content["bua"] = rewrite(content["bua"])
        torch.save(content, path)


def copy_of(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder / "run"))


def captions(predictor: CaptionPredictor, scenes: Path) -> list[tuple[str, float]]:
    store = FeatureStore(scenes / "regions.h5")
    outputs = [predictor.caption(store[image_id]) for image_id in list(store)[:4]]
    return [(output.text, output.log_prob) for output in outputs]


def test_train_and_load_need_no_hydra_application(run, scenes) -> None:
    assert captions(load(run), scenes) == captions(load(run / "checkpoints" / "best.ckpt"), scenes)
    assert yaml.safe_load((run / "config.yaml").read_text())["out"] == str(run)


def test_train_returns_the_metrics_of_the_last_validation(scenes, tmp_path) -> None:
    metrics = train(configuration(scenes, tmp_path / "run", "trainer.max_epochs=1"))
    assert {"val/CIDEr", "val/loss", "train/loss"} <= metrics.keys()
    assert all(np.isfinite(value) for value in metrics.values())


def test_a_mistake_in_the_configuration_leaves_no_run_behind(scenes, tmp_path) -> None:
    with pytest.raises(InputError, match="captions_nowhere.json: file does not exist"):
        train(configuration(scenes, tmp_path / "run", f"captions={scenes}/captions_nowhere.json"))
    assert not (tmp_path / "run").exists()


def test_checkpoints_name_classes_without_python_paths(run) -> None:
    record = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["bua"]
    assert record["model"]["class"] == "UpDownCaptioner"
    assert record["objective"]["class"] == "CaptionCrossEntropyTask"
    assert "_target_" not in str(record)
    assert "bua." not in str(record["model"])


def test_a_checkpoint_with_paths_of_an_earlier_version_gives_the_same_captions(run, scenes, tmp_path) -> None:
    expected = captions(load(run), scenes)
    earlier = copy_of(run, tmp_path)

    def rewrite(record):
        model = {k: v for k, v in record["model"].items() if k != "class"}
        path = "bua.models.captioners.up_down.UpDownCaptioner"
        return {**record, "model": {"_target_": path, **model}, "length": record.pop("max_length", None)}

    rewrite_checkpoints(earlier, rewrite)
    assert captions(load(earlier), scenes) == expected


def test_a_model_decodes_images_as_the_features_of_its_training_were_decoded(run, tmp_path) -> None:
    thermal = np.random.default_rng(0).integers(7301, 8207, (40, 50)).astype(np.uint16)
    Image.fromarray(thermal).save(tmp_path / "t.png")
    stretched = copy_of(run, tmp_path)

    def rewrite(record):
        configuration = {**record["features"]["configuration"], "stretch_gray": True}
        return {**record, "features": {**record["features"], "configuration": configuration}}

    rewrite_checkpoints(stretched, rewrite)
    predictors = {False: load(run), True: load(stretched)}
    found = []
    for stretch_gray, predictor in predictors.items():
        photo = read_photo(tmp_path / "t.png", stretch_gray=stretch_gray)
        expected = detect_regions(predictor.detector, photo)
        with Image.open(tmp_path / "t.png") as image:
            for given in (tmp_path / "t.png", image):
                assert (predictor.detect(given).features == expected.features).all()
        found.append(expected.features[0, 0])
    assert found[0] != found[1]


def test_a_run_with_paths_of_an_earlier_version_resumes(run, scenes, tmp_path) -> None:
    earlier = copy_of(run, tmp_path)
    config = (earlier / "config.yaml").read_text()
    for today, before in EARLIER_PATHS.items():
        config = config.replace(today, before)
    assert "bua.tasks.normalise.Normaliser" in config
    (earlier / "config.yaml").write_text(config)
    train(configuration(scenes, earlier, "trainer.max_epochs=3", "resume=true"))
    epochs = (earlier / "metrics.csv").read_text().splitlines()
    assert len(epochs) == 1 + 3


def test_resuming_with_another_class_is_refused(run, scenes, tmp_path) -> None:
    copy = copy_of(run, tmp_path)
    changed = configuration(scenes, copy, "resume=true", "objective.reduction.per=caption")
    with pytest.raises(
        InputError, match=r"objective.reduction.per differs from that of the run \(word, not caption\)"
    ):
        train(changed)


def test_a_store_with_paths_of_an_earlier_version_has_the_identity_of_today(tmp_path) -> None:
    def store(name: str, key: str, detector: str, rule: str) -> FeatureStore:
        configuration = {key: detector, "name": "x", "selection": {key: rule, "min_regions": 10}}
        about = StoreMetadata("x", configuration, "0" * 64)
        return FeatureStore(write_store(tmp_path / name, {1: regions(3)}, about))

    earlier = store("a.h5", "_target_", "bua.regions.pyramid.PyramidDetector", "bua.regions.select.Selection")
    today = store("b.h5", "class", "PyramidDetector", "Selection")
    assert earlier.metadata.identity == today.metadata.identity


@pytest.mark.parametrize("target", ["os.system", "torch.hub.load", "bua.io.files.write_text"])
def test_nothing_but_a_model_is_built_from_a_checkpoint(target: str, run, tmp_path) -> None:
    copy = copy_of(run, tmp_path)
    rewrite_checkpoints(copy, lambda record: {**record, "model": {"class": target}})
    with pytest.raises(InputError, match=f"{target} may not be built"):
        load(copy)
    with pytest.raises(InputError, match="may not be built"):
        instantiate({"_target_": target})


def test_what_a_checkpoint_records_is_never_interpolated(run, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SECRET", "12")
    other = copy_of(run, tmp_path)

    def interpolate(record):
        return {**record, "model": {**record["model"], "hidden_size": "${oc.env:SECRET}"}}

    rewrite_checkpoints(other, interpolate)
    with pytest.raises(InputError, match=r"hidden_size.*\$\{oc.env:SECRET\}|str"):
        load(other)
