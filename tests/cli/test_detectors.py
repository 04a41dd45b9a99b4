"""Detectors from training to regions, through the command line."""

import json

import pytest
import torch
from PIL import Image

from bua.cli import main
from bua.store import FeatureStore
from tests.helpers.commands import run_error
from tests.helpers.detector_releases import WRITERS, random_model
from tests.helpers.detectors import save_torchvision_detector

TINY = ["model.resize.min_size=64", "model.resize.max_size=107", "trainer.limit_val_batches=2"]


@pytest.mark.slow
def test_the_detector_of_the_paper_from_visual_genome_to_regions(scenes, tmp_path, capfd) -> None:
    """Train a few steps on scenes in the format of Visual Genome, evaluate, export, and extract regions."""
    code = main(
        ["prepare-vg", f"source={scenes}/genome", f"out={tmp_path}/genome", "val=2", "test=2", "count=all"]
    )
    assert code == 0, capfd.readouterr().err
    code = main(
        [
            "train",
            "experiment=detector_genome",
            f"genome={tmp_path}/genome",
            f"images={scenes}",
            f"out={tmp_path}/run",
            "model.blocks=[1,1,1,1]",
            "model.pretrained=null",
            *TINY,
            "trainer.max_steps=3",
            "trainer.val_check_interval=3",
            "data.num_workers=0",
        ]
    )
    assert code == 0, capfd.readouterr().err
    metrics = json.loads((tmp_path / "run/status.json").read_text())["metrics"]
    assert {"val/AP50", "val/AP50_weighted", "val/attribute_AP50", "val/attribute_AP50_weighted"} <= set(
        metrics
    )
    exported = tmp_path / "own.safetensors"
    instances = f"instances={tmp_path}/genome/instances_val.json"
    code = main(["export-detector", f"run={tmp_path}/run", f"out={exported}", instances, f"images={scenes}"])
    assert code == 0, capfd.readouterr().err
    small = ["detector.min_size=64", "detector.max_size=107", "detector.proposals=12"]
    few = sorted((scenes / "images").iterdir())[:2]
    (tmp_path / "few.txt").write_text("\n".join(map(str, few)))
    code = main(
        [
            "extract",
            f"images={tmp_path}/few.txt",
            f"out={tmp_path}/f.h5",
            "detector=vg_c4",
            f"weights={exported}",
            *small,
            "select=fixed",
            "select.min_regions=12",
            "select.max_regions=12",
        ]
    )
    assert code == 0, capfd.readouterr().err
    store = FeatureStore(tmp_path / "f.h5")
    assert len(store) == len(few)
    assert store.feature_size == 2048
    assert set(store.counts()) <= set(range(1, 13))
    assert "heart" in store.metadata.class_names
    assert "red" in store.metadata.attribute_names
    code = main(
        [
            "evaluate",
            instances,
            f"images={scenes}",
            "detector=vg_c4",
            f"weights={exported}",
            *small,
            "evaluation=genome",
            f"out={tmp_path}/m.json",
        ]
    )
    assert code == 0, capfd.readouterr().err
    scores = json.loads((tmp_path / "m.json").read_text())["scores"]
    assert set(scores) == {"AP50", "AP50_weighted", "attribute_AP50", "attribute_AP50_weighted"}


@pytest.mark.slow
def test_a_torchvision_detector_trains_on_coco_instances(shared, tmp_path, capfd) -> None:
    coco = shared / "data/coco_mini"
    code = main(
        [
            "train",
            "experiment=detector_instances",
            f"instances={coco}/instances.json",
            "data.num_workers=0",
            f"val_instances={coco}/instances.json",
            f"images={coco}/images",
            f"out={tmp_path}/run",
            "model.architecture=fpn_mobilenet",
            "model.pretrained=null",
            *TINY,
            "data.batch_size=2",
            "trainer.max_epochs=1",
            "trainer.limit_train_batches=2",
        ]
    )
    assert code == 0, capfd.readouterr().err
    assert "val/AP50" in json.loads((tmp_path / "run/status.json").read_text())["metrics"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MILVLG", "airsplay", "Caffe"])
def test_a_released_detector_extracts_regions_of_real_images(name, shared, tmp_path, capfd) -> None:
    write, file_name = WRITERS[name]
    weights = write(random_model(classes=5, attributes=3).state_dict(), tmp_path / file_name)
    for kind, count in (("classes", 5), ("attributes", 3)):
        (tmp_path / f"{kind}.txt").write_text("\n".join(f"{kind}{n},synonym" for n in range(count)))
    photos = sorted((shared / "data/coco_mini/images").iterdir())[:3]
    (tmp_path / "list.txt").write_text("\n".join(map(str, photos)))
    code = main(
        [
            "extract",
            f"images={tmp_path}/list.txt",
            f"out={tmp_path}/f.h5",
            "detector=vg_c4",
            f"weights={weights}",
            f"classes={tmp_path}/classes.txt",
            f"attributes={tmp_path}/attributes.txt",
            "detector.min_size=64",
            "detector.max_size=107",
            "detector.proposals=12",
        ]
    )
    assert code == 0, capfd.readouterr().err
    store = FeatureStore(tmp_path / "f.h5")
    assert len(store) == 3
    assert store.metadata.class_names[0] == "classes0"
    assert store.metadata.configuration["box_convention"] == ("modern" if name == "airsplay" else "caffe")


@pytest.mark.slow
def test_grid_and_fpn_features_are_written_to_feature_stores(scenes, tmp_path, capfd) -> None:
    from torchvision.models import resnet18

    torch.save(resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    _, mobile = save_torchvision_detector("fpn_mobilenet", tmp_path)
    common = [f"images={scenes}/images"]
    code = main(
        [
            "extract",
            *common,
            f"out={tmp_path}/g.h5",
            "detector=grid_resnet",
            "detector.network=resnet18",
            f"weights={tmp_path}/resnet18.pth",
            "detector.cells=[7,7]",
        ]
    )
    assert code == 0, capfd.readouterr().err
    grid = FeatureStore(tmp_path / "g.h5")
    assert (set(grid.counts().tolist()), grid.metadata.grid, grid.feature_size) == ({49}, (7, 7), 512)
    code = main(
        [
            "extract",
            *common,
            f"out={tmp_path}/p.h5",
            "detector=fpn_mobilenet",
            f"weights={mobile}",
            "select=class_agnostic",
            "detector.min_size=96",
            "detector.max_size=160",
        ]
    )
    assert code == 0, capfd.readouterr().err
    store = FeatureStore(tmp_path / "p.h5")
    assert store.feature_size == 1024
    assert store.metadata.class_names[0] == "person"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["detector=vg_c4"], "detector=vg_c4 does not ship with weights; pass weights=FILE"),
        (["detector=vg_c4", "weights=nowhere.pth"], "nowhere.pth: weight file does not exist"),
        (["detector=vg_c4", "weights=Makefile"], "Makefile: not weights of the vg_c4 detector"),
        (["detector=fpn_r50", "weights=README.md"], "README.md: damaged, or holds more than tensors"),
        (["boxes=nowhere.json"], "nowhere.json"),
        (["precision=64"], "precision must be one of 32-true, bf16-mixed, 16-mixed, got 64"),
        (["select.threshold=2"], "threshold must be in (0, 1], got 2"),
        (["trainer.devices=0"], "trainer.devices=0: must be an integer of at least 1"),
        (["trainer.devices=-1"], "trainer.devices=-1: must be an integer of at least 1"),
        (["precision=16-mixed", "device=cpu"], "precision 16-mixed needs a GPU"),
    ],
)
def test_mistakes_with_detectors_are_reported_in_one_line(arguments, message, tmp_path, capfd) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    assert message in run_error(
        capfd, "extract", f"images={tmp_path}/a.png", f"out={tmp_path}/f.h5", *arguments
    )
