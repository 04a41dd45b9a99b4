"""``bua genome`` on the scenes: what a user sees, and one line for every mistake."""

import json
from pathlib import Path

import pytest

from bua.cli import main
from tests.cli.test_mistakes import said


def karpathy_file(path: Path, scenes: Path) -> Path:
    """Write the splits of the scenes as Karpathy's file has them."""
    images = [
        {"cocoid": image["id"], "split": split, "filepath": "val2014"}
        for split in ("train", "val", "test")
        for image in json.loads((scenes / f"captions_{split}.json").read_text())["images"]
    ]
    path.write_text(json.dumps({"images": images}))
    return path


def test_scenes_are_prepared_and_the_detector_data_load(scenes, tmp_path, capfd) -> None:
    karpathy = karpathy_file(tmp_path / "dataset coco (1).json", scenes)
    code = main(
        ["genome", f"source={scenes}/genome", f"out={tmp_path}/o", f"karpathy={karpathy}"]
        + [f"images={scenes}", "val=8", "test=8", "count=all"]
    )
    captured = capfd.readouterr()
    assert (code, captured.err) == (0, "")
    assert "46 images: 30 train, 8 val, 8 test" in captured.out
    assert "14 classes and 13 attributes are known" in captured.out
    for split in ("train", "val", "test"):
        listed = json.loads((tmp_path / "o" / f"instances_{split}.json").read_text())
        assert f"{split}: {len(listed['images'])} of" in captured.out
    for split in ("val", "test"):
        ids = {i["id"] for i in json.loads((scenes / f"captions_{split}.json").read_text())["images"]}
        assert ids == set(json.loads((tmp_path / "o" / "splits.json").read_text())[split])
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert set(report["sources"]) == {"images", "objects", "attributes", "karpathy"}
    assert report["origins"]["train"] == {"not Karpathy's": 6, "val2014": 24}
    made = {"objects_vocab.txt", "attributes_vocab.txt", "splits.json", "report.json"}
    assert {p.name for p in (tmp_path / "o").iterdir()} - {
        f"instances_{split}.json" for split in ("train", "val", "test")
    } == made


def test_without_karpathy_it_is_said_that_nothing_keeps_caption_images_out(scenes, tmp_path, capfd) -> None:
    assert main(["genome", f"source={scenes}/genome", f"out={tmp_path}", "val=8", "test=8"]) == 0
    [line] = capfd.readouterr().err.strip().splitlines()
    assert "without karpathy=dataset_coco.json nothing keeps the images of caption evaluation" in line


def test_missing_photographs_are_told_and_counted(scenes, tmp_path, capfd) -> None:
    (tmp_path / "photos").mkdir()
    for path in sorted((scenes / "images").iterdir())[:20]:
        (tmp_path / "photos" / path.name).symlink_to(path)
    arguments = ["genome", f"source={scenes}/genome", f"images={tmp_path}/photos", f"out={tmp_path}/o"]
    assert main([*arguments, "val=8", "test=8"]) == 0
    lines = capfd.readouterr().err.strip().splitlines()
    assert "there is no photograph 000001000020.jpg" in lines[1]
    assert "26 images are left out" in lines[-1]
    assert len(lines) == 1 + 10 + 1


def broken(folder: Path, scenes: Path, name: str, change) -> Path:
    """Copy the official files of the scenes, one of them changed."""
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
    "no attributes": ("attributes.json", Path.unlink, "attributes.json: there is no such file"),
    "no objects": ("scene_graphs.json", Path.unlink, "there is neither scene_graphs.json nor objects.json"),
    "cut short": (
        "scene_graphs.json",
        lambda path: path.write_text(path.read_text()[:5000]),
        "scene_graphs.json: not JSON: ",
    ),
    "no names": (
        "scene_graphs.json",
        edit(lambda content: content[0]["objects"][0].update(names=[])),
        "scene_graphs.json: image 1000000, object 10000000: names is []",
    ),
    "a box as text": (
        "scene_graphs.json",
        edit(lambda content: content[0]["objects"][0].update(w="30")),
        "image 1000000, object 10000000: x, y, w, h are",
    ),
    "no coco ids": (
        "image_data.json",
        edit(lambda content: [image.update(coco_id=None) for image in content]),
        "image_data.json: no image has a coco_id, so karpathy=... can keep none of them out",
    ),
}


@pytest.mark.parametrize("name", sorted(MISTAKES))
def test_broken_files_end_in_one_line(name: str, scenes, tmp_path, capfd) -> None:
    file, change, message = MISTAKES[name]
    source = broken(tmp_path / "s", scenes, file, change)
    karpathy = karpathy_file(tmp_path / "k.json", scenes)
    arguments = [f"source={source}", f"out={tmp_path}/o", f"karpathy={karpathy}", "val=8", "test=8"]
    assert message in said(capfd, "genome", *arguments)
    assert not (tmp_path / "o" / "report.json").exists()


def test_mistakes_are_listed() -> None:
    assert len(MISTAKES) == 6


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("karpathy=captions_val.json", "captions_val.json: images[0] (id 2000000): cocoid is None, a whole"),
        ("objects=empty.txt", "empty.txt: there are no names in it"),
        ("attributes=none.txt", "none.txt: there is no such file"),
        ("images=nowhere", "nowhere: there is no such folder"),
        ("val=-1", "val=-1: must be an integer of at least 0"),
        ("top_objects=0", "top_objects=0: must be an integer of at least 1"),
        ("most_attributes=many", "most_attributes=many: must be an integer of at least 1"),
        ("test=5000", "test=5000: of 46 images none is left to train on"),
        ("count=most", "count=most: first or all is needed"),
        ("source=nowhere", "nowhere/image_data.json: there is no such file"),
        ("karpaty=k.json", "did you mean 'karpathy'?"),
    ],
)
def test_wrong_options_end_in_one_line(option, message, scenes, tmp_path, capfd, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "captions_val.json").write_bytes((scenes / "captions_val.json").read_bytes())
    (tmp_path / "empty.txt").touch()
    karpathy = karpathy_file(tmp_path / "k.json", scenes)
    options = {"source": f"{scenes}/genome", "out": "o", "karpathy": str(karpathy), "val": "8", "test": "8"}
    key, _, value = option.partition("=")
    arguments = [f"{k}={v}" for k, v in (options | {key: value}).items()]
    assert message in said(capfd, "genome", *arguments)
