"""``bua detect``: JSON and drawn boxes, from a detector and from a feature store."""

import json

import pytest
from PIL import Image

from tests.helpers.commands import run_error, run_ok
from tests.helpers.detector_releases import hugging_face, random_model


@pytest.mark.slow
def test_the_objects_of_scenes_are_detected(scenes, tmp_path, capfd) -> None:
    names = [line["file_name"] for line in json.loads((scenes / "instances_test.json").read_text())["images"]]
    (tmp_path / "list.txt").write_text("\n".join([*names[:3], "none.jpg"]))
    run_ok("detect", f"images={tmp_path}/list.txt", f"root={scenes}/images", f"out={tmp_path}/out")
    printed = capfd.readouterr()
    assert printed.err.count("none.jpg: file does not exist") == 1
    found = json.loads((tmp_path / "out/detections.json").read_text())
    assert [record["file"].split("/")[-1] for record in found] == names[:3]
    assert "3 images" in printed.out
    for record in found:
        assert {tag["name"] for tag in record["tags"]} == {one["class"] for one in record["objects"]}
        for one in record["objects"]:
            assert one["label"].endswith(one["class"])
            x1, y1, x2, y2 = one["box"]
            assert 0 <= x1 < x2 <= record["width"]
            assert 0 <= y1 < y2 <= record["height"]
    drawn = sorted((tmp_path / "out/images").iterdir())
    assert len(drawn) == 3
    assert min(Image.open(drawn[0]).size) >= 480
    (tmp_path / "out/images/mine.jpg").write_bytes(b"")
    run_ok("detect", f"images={scenes}/images/{names[3]}", f"out={tmp_path}/out")
    left = {path.name.partition("_")[0] for path in (tmp_path / "out/images").iterdir()}
    assert left == {"000000", "mine.jpg"}


@pytest.mark.slow
def test_the_regions_of_a_feature_store_are_shown(scenes, tmp_path) -> None:
    run_ok(
        "detect",
        f"images={scenes}/images",
        f"features={scenes}/regions.h5",
        f"out={tmp_path}/out",
        "draw=false",
        "score_threshold=0.0",
    )
    found = json.loads((tmp_path / "out/detections.json").read_text())
    assert len(found) == 46
    assert {one["class"] for record in found for one in record["objects"]} == {"thing", "stuff"}


def test_a_detector_without_class_names_is_rejected(tmp_path, capfd) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    words = ["detect", f"images={tmp_path}/a.png", f"out={tmp_path}/out"]
    assert "bua detect: detector=random does not detect objects" in run_error(
        capfd, *words, "detector=random"
    )
    path = hugging_face(random_model().state_dict(), tmp_path / "w.pth")
    assert "has no class names; pass classes=FILE" in run_error(
        capfd, *words, "detector=vg_c4", f"weights={path}"
    )


@pytest.mark.parametrize("evaluation", ["voc", "3"])
def test_an_unknown_evaluation_is_rejected(evaluation, tmp_path, capfd) -> None:
    words = ["evaluate", f"instances={tmp_path}/i.json", f"images={tmp_path}", f"evaluation={evaluation}"]
    assert f"evaluation={evaluation}: must be coco or genome" in run_error(capfd, *words)
