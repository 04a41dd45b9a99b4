"""``bua captions check``, and Karpathy's files from training to scores."""

import json
from pathlib import Path

import pytest

from bua.cli import main
from bua.text import Vocabulary
from tests.helpers.caption_files import IDS, NAMES, karpathy_file
from tests.helpers.commands import run_error
from tests.helpers.data import write_json
from tests.helpers.stores import regions, write_store


def test_a_valid_file_is_summarized(capfd, tmp_path) -> None:
    features = write_store(tmp_path / "f.h5", {name: regions(2) for name in [*NAMES[0], "90_a"]})
    path = Path(karpathy_file(tmp_path))
    content = json.loads(path.read_text())
    content["images"][-1]["sentences"] = [{"raw": "a zebra, far away"}]
    path.write_text(json.dumps(content))
    words = ["captions", "check", f"file={path}", f"features={features}", "image_key=file_name"]
    assert main([*words, "data.vocabulary.min_count=2", "max_length=3"]) == 0
    out = capfd.readouterr()
    assert out.err == ""
    splits = "train (3 images), restval (1 images), val (1 images), test (1 images)"
    assert out.out.splitlines() == [
        f"{path}: Karpathy's splits, 6 images, 6 captions, 14 words; {splits}",
        f"{path}: 1 captions have more than 3 words and are truncated in training",
        f"{path}: 42.86% of the words (6) are unknown, most frequently restval (1), val (1), test (1), "
        "zebra (1), far (1)",
        "vocabulary (karpathy, at least 2 times in the captions): 6 words including the four special tokens",
        f"{path}: valid",
    ]


def test_every_problem_is_reported_in_one_line(capfd, tmp_path) -> None:
    features = write_store(tmp_path / "f.h5", {i: regions(2) for i in IDS[:4]})
    path = Path(karpathy_file(tmp_path))
    assert main(["captions", "check", f"file={path}", f"features={features}"]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert lines == [
        f"{path}: image 90 has no captions",
        f"{path}: image 14 has no regions in {features}",
        f"bua captions check: {path}: image 90 has no regions in {features}",
    ]
    assert main(["captions", "check", f"file={path}", f"features={features}", "splits=[restval,val]"]) == 0


def test_an_image_that_a_store_names_by_its_file_is_reported_with_both_names(capfd, tmp_path) -> None:
    features = write_store(tmp_path / "f.h5", {name: regions(2) for name in NAMES[0][1:]})
    path = Path(karpathy_file(tmp_path))
    assert main(["captions", "check", f"file={path}", f"features={features}", "image_key=file_name"]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert f"{path}: image {IDS[0]} ({NAMES[0][0]}) has no regions in {features}" in lines


def test_two_images_that_match_one_of_the_store_are_reported(capfd, tmp_path) -> None:
    features = write_store(tmp_path / "f.h5", {"x": regions(2)})
    path = Path(karpathy_file(tmp_path))
    content = json.loads(path.read_text())
    content["images"] = [
        image | {"filename": "x.jpg", "filepath": folder}
        for image, folder in zip(content["images"][:2], "ab", strict=True)
    ]
    path.write_text(json.dumps(content))
    words = ["captions", "check", f"file={path}", f"features={features}", "image_key=file_name"]
    assert main(words) == 2
    line = f"bua captions check: {features}: image 'x' matches two images of {path}: 10 and 11\n"
    assert capfd.readouterr().err == line


def test_an_invalid_vocabulary_hides_no_problem_of_the_captions(capfd, tmp_path) -> None:
    path = write_json(tmp_path, {"1": ["a cat"], "2": []})
    words = ["captions", "check", f"file={path}", "data.vocabulary.tokenizer=best"]
    assert main(words) == 2
    first, last = capfd.readouterr().err.splitlines()
    assert first == f"{path}: image 2 has no captions"
    assert last.startswith("bua captions check: unknown tokenizer 'best'")


def test_a_caption_without_words_is_reported(capfd, tmp_path) -> None:
    path = write_json(tmp_path, {"1": ["a cat", "..."]})
    assert main(["captions", "check", f"file={path}"]) == 2
    error = f"bua captions check: {path}: image 1 has the caption '...', which has no word\n"
    assert capfd.readouterr().err == error


def test_presets_and_vocabulary_files_are_described(capfd, tmp_path) -> None:
    path = write_json(tmp_path, {"1": ["a cat, a dog"]})
    assert main(["captions", "check", f"file={path}", "vocabulary=updown_caffe"]) == 0
    assert "vocabulary (caffe, at least 5 times in the captions): 4 words" in capfd.readouterr().out
    Vocabulary(["a", "cat", "dog"], "karpathy").save(tmp_path / "v.json")
    assert main(["captions", "check", f"file={path}", f"data.vocabulary.file={tmp_path}/v.json"]) == 0
    out = capfd.readouterr().out
    assert "0.00% of the words (0) are unknown" in out
    assert f"vocabulary ({tmp_path}/v.json): 7 words" in out
    (tmp_path / "w.txt").write_text("dog\na\n")
    assert (
        main(
            ["captions", "check", f"file={path}", "vocabulary=xmodaler", f"vocabulary_file={tmp_path}/w.txt"]
        )
        == 0
    )
    assert f"vocabulary ({tmp_path}/w.txt): 6 words" in capfd.readouterr().out
    assert "vocabulary_file must be given" in run_error(
        capfd, "captions", "check", f"file={path}", "vocabulary=xmodaler"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "file=/c.json"], "/c.json: file does not exist"),
        (["check"], "file must be given: file=..."),
        (["check", "file=c.json", "vocabulary=best"], "there is no vocabulary=best; the options are aoa, "),
        (
            ["check", "file=c.json", "splits=val"],
            "c.json: has no splits, as its format is plain object; leave out 'val'",
        ),
        (
            ["check", "file=c.json", "image_key=path", "features=f.h5"],
            "image_key=path: must be id or file_name",
        ),
        (["check", "file=v.json"], "v.json: not a caption file; must be COCO's "),
        (
            ["chek", "file=c.json"],
            "there is no command 'captions chek'; did you mean 'captions check'?",
        ),
    ],
)
def test_mistakes_are_reported_in_one_line(arguments, message: str, capfd, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path, {"1": "a"}, "c.json")
    write_json(tmp_path, {"questions": [{"question_id": 1}]}, "v.json")
    write_store(tmp_path / "f.h5", {1: regions(2)})
    assert message in run_error(capfd, "captions", *arguments)


@pytest.mark.parametrize("family", ["captions", "features"])
def test_a_family_lists_its_commands(family: str, capfd) -> None:
    assert main([family]) == 0
    listed = [line.split()[0] for line in capfd.readouterr().out.splitlines() if line.startswith("  ")]
    assert set(listed) == {family}


@pytest.mark.slow
def test_karpathys_splits_from_training_to_scores(scenes, tmp_path, capfd) -> None:
    """As for Flickr: file names identify images in the store, and numbers in the caption file."""
    images = []
    for split in ("train", "val", "test"):
        content = json.loads((scenes / f"captions_{split}.json").read_text())
        for image in content["images"]:
            raw = [a["caption"] for a in content["annotations"] if a["image_id"] == image["id"]]
            about = {"imgid": len(images), "filename": image["file_name"], "split": split}
            images.append(about | {"sentences": [{"raw": text} for text in raw]})
    path = write_json(tmp_path, {"images": images, "dataset": "flickr8k"}, "dataset_flickr8k.json")
    common = [f"captions={path}", f"features={scenes}/regions.h5", "trainer.max_epochs=1"]
    more = ["model=updown_small", "vocabulary=small", "data.num_workers=0", f"out={tmp_path}/run"]
    assert main(["train", "data=captions_karpathy", *common, *more]) == 2
    assert "has no split 'restval'; it has train (24 images)" in capfd.readouterr().err
    assert main(["train", "data=captions_flickr", *common, *more, "data.image_key=id"]) == 2
    assert "image_key=file_name" in capfd.readouterr().err
    assert main(["train", "data=captions_flickr", *common, *more]) == 0
    assert main(["predict", f"run={tmp_path}/run", "split=test", f"out={tmp_path}/p.json"]) == 0
    predicted = [record["image_id"] for record in json.loads((tmp_path / "p.json").read_text())]
    test = [image["imgid"] for image in images if image["split"] == "test"]
    assert predicted == test
    again = [f"images={path}", "splits=[test]", "image_key=file_name", f"out={tmp_path}/again.json"]
    assert main(["predict", f"run={tmp_path}/run", *again]) == 0
    assert (tmp_path / "again.json").read_text() == (tmp_path / "p.json").read_text()
    score = [
        "score",
        "task=caption",
        f"predictions={tmp_path}/p.json",
        f"references={path}",
        "metrics=[cider]",
    ]
    assert main([*score, "splits=test", "tokenizer=python", f"out={tmp_path}/m.json"]) == 0
    assert json.loads((tmp_path / "m.json").read_text())["images"] == len(test)
    capfd.readouterr()
    assert main(score) == 2
    assert "choose among its splits train (24 images)" in capfd.readouterr().err
    assert main(["predict", f"run={tmp_path}/run", "split=dev", f"out={tmp_path}/d.json"]) == 2
    assert "has no split 'dev'" in capfd.readouterr().err
    assert not Path(tmp_path / "d.json").exists()
