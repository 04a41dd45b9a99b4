"""``bua prepare-vg`` on the synthetic scenes: its output, and mistakes in one line."""

import json
from pathlib import Path

import pytest

from bua.cli import main
from tests.helpers.commands import run_error


def karpathy_file(path: Path, scenes: Path) -> Path:
    """Write the splits of the scenes in the format of Karpathy's file."""
    images = [
        {"cocoid": image["id"], "split": split, "filepath": "val2014"}
        for split in ("train", "val", "test")
        for image in json.loads((scenes / f"captions_{split}.json").read_text())["images"]
    ]
    path.write_text(json.dumps({"images": images}))
    return path


def test_the_scenes_are_prepared(scenes, tmp_path, capfd) -> None:
    karpathy = karpathy_file(tmp_path / "dataset coco (1).json", scenes)
    code = main(
        ["prepare-vg", f"source={scenes}/genome", f"out={tmp_path}/o", f"captions={karpathy}"]
        + [f"images={scenes}", "val=8", "test=8", "count=all"]
    )
    captured = capfd.readouterr()
    assert (code, captured.err) == (0, "")
    assert "46 images: 30 train, 8 val, 8 test" in captured.out
    assert "vocabularies of 14 classes and 13 attributes" in captured.out
    for split in ("train", "val", "test"):
        instances = json.loads((tmp_path / "o" / f"instances_{split}.json").read_text())
        assert f"{split}: {len(instances['images'])} of" in captured.out
    for split in ("val", "test"):
        ids = {i["id"] for i in json.loads((scenes / f"captions_{split}.json").read_text())["images"]}
        assert ids == set(json.loads((tmp_path / "o" / "splits.json").read_text())[split])
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert set(report["sources"]) == {"images", "objects", "attributes", "captions"}
    assert report["origins"]["train"] == {"not Karpathy's": 6, "val2014": 24}
    others = {"objects_vocab.txt", "attributes_vocab.txt", "splits.json", "report.json"}
    assert {p.name for p in (tmp_path / "o").iterdir()} - {
        f"instances_{split}.json" for split in ("train", "val", "test")
    } == others


def test_missing_captions_cause_a_warning(scenes, tmp_path, capfd) -> None:
    assert main(["prepare-vg", f"source={scenes}/genome", f"out={tmp_path}", "val=8", "test=8"]) == 0
    [line] = capfd.readouterr().err.strip().splitlines()
    assert "without captions=dataset_coco.json, images of the caption evaluation may be used" in line


def test_missing_images_are_reported_and_counted(scenes, tmp_path, capfd) -> None:
    (tmp_path / "photos").mkdir()
    for path in sorted((scenes / "images").iterdir())[:20]:
        (tmp_path / "photos" / path.name).symlink_to(path)
    arguments = ["prepare-vg", f"source={scenes}/genome", f"images={tmp_path}/photos", f"out={tmp_path}/o"]
    assert main([*arguments, "val=8", "test=8"]) == 0
    lines = capfd.readouterr().err.strip().splitlines()
    assert "photo 000001000020.jpg does not exist" in lines[1]
    assert "26 images are skipped" in lines[-1]
    assert len(lines) == 1 + 10 + 1


def copy_with(folder: Path, scenes: Path, name: str, change) -> Path:
    """Copy the official files of the scenes, and change one of them."""
    folder.mkdir()
    for path in (scenes / "genome").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    change(folder / name)
    return folder


def edit(change):
    """Return a change of the first entry of a JSON file."""

    def changed(path: Path) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return changed


MISTAKES = {
    "no attributes": ("attributes.json", Path.unlink, "attributes.json: file does not exist"),
    "no objects": ("scene_graphs.json", Path.unlink, "contains neither scene_graphs.json nor objects.json"),
    "truncated": (
        "scene_graphs.json",
        lambda path: path.write_text(path.read_text()[:5000]),
        "scene_graphs.json: not valid JSON: ",
    ),
    "no names": (
        "scene_graphs.json",
        edit(lambda content: content[0]["objects"][0].update(names=[])),
        "scene_graphs.json: image 1000000: objects[0].names is []",
    ),
    "a string in a box": (
        "scene_graphs.json",
        edit(lambda content: content[0]["objects"][0].update(w="30")),
        "image 1000000: objects[0].w is '30', expected a number",
    ),
    "no coco ids": (
        "image_data.json",
        edit(lambda content: [image.update(coco_id=None) for image in content]),
        "image_data.json: no image has a coco_id, so captions=... cannot keep any out",
    ),
}


@pytest.mark.parametrize("name", sorted(MISTAKES))
def test_invalid_files_are_reported_in_one_line(name: str, scenes, tmp_path, capfd) -> None:
    file, change, message = MISTAKES[name]
    source = copy_with(tmp_path / "s", scenes, file, change)
    karpathy = karpathy_file(tmp_path / "k.json", scenes)
    arguments = [f"source={source}", f"out={tmp_path}/o", f"captions={karpathy}", "val=8", "test=8"]
    assert message in run_error(capfd, "prepare-vg", *arguments)
    assert not (tmp_path / "o" / "report.json").exists()


def test_mistakes_are_listed() -> None:
    assert len(MISTAKES) == 6


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "captions=captions_val.json",
            "captions_val.json: images[0] (id 2000000): has no cocoid",
        ),
        ("classes=empty.txt", "empty.txt: contains no names"),
        ("attributes=none.txt", "none.txt: file does not exist"),
        ("images=nowhere", "nowhere: folder does not exist"),
        ("val=-1", "val=-1: must be an integer of at least 0"),
        ("top_classes=0", "top_classes=0: must be an integer of at least 1"),
        ("max_attributes=many", "max_attributes=many: must be an integer of at least 1"),
        ("test=5000", "test=5000: none of the 46 images is left for training"),
        ("count=most", "count=most: must be first or all"),
        ("source=nowhere", "nowhere/image_data.json: file does not exist"),
        ("captons=k.json", "did you mean 'captions'?"),
    ],
)
def test_invalid_options_are_reported_in_one_line(
    option, message, scenes, tmp_path, capfd, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "captions_val.json").write_bytes((scenes / "captions_val.json").read_bytes())
    (tmp_path / "empty.txt").touch()
    karpathy = karpathy_file(tmp_path / "k.json", scenes)
    options = {"source": f"{scenes}/genome", "out": "o", "captions": str(karpathy), "val": "8", "test": "8"}
    key, _, value = option.partition("=")
    arguments = [f"{k}={v}" for k, v in (options | {key: value}).items()]
    assert message in run_error(capfd, "prepare-vg", *arguments)
