"""Flickr's token files and CSV files hold the same captions as JSON, whatever the captions contain."""

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.data.captions.files import read_captions
from bua.data.captions.files.caption_file import normalize_caption
from bua.data.captions.files.check import check_captions
from bua.engine import train
from bua.engine.prediction import EnsembleRuns
from bua.errors import InputError
from bua.evaluation.captions import CaptionScoring, score_captions
from tests.helpers.commands import run_error
from tests.helpers.configurations import compose_config

TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs"]), min_size=1, max_size=12).filter(
    str.strip
)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,5}\.jpg(\.1)?", fullmatch=True)
IMAGES = st.dictionaries(NAMES, st.lists(TEXTS, min_size=1, max_size=3), min_size=1, max_size=4)
DELIMITERS = [",", "|", "\t", ";"]

Images = dict[str, list[str]]


def write_tokens(path: Path, images: Images, end: str = "\n") -> Path:
    lines = [f"{name}#{n}\t{text}{end}" for name, texts in images.items() for n, text in enumerate(texts)]
    path.write_text("".join(lines), encoding="utf-8", newline="")
    return path


def write_csv(path: Path, images: Images, delimiter: str = ",") -> Path:
    rows = [[name, n, text] for name, texts in images.items() for n, text in enumerate(texts)]
    with open(path, "w", encoding="utf-8", newline="") as file:
        if delimiter == "|":  # as in Kaggle's Flickr30k
            file.write("image_name| comment_number| comment\n")
            file.writelines(f"{name}| {n}| {text}\n" for name, n, text in rows)
        else:
            writer = csv.writer(file, delimiter=delimiter)
            writer.writerow(["image", "caption"])
            writer.writerows([name, text] for name, _, text in rows)
    return path


def normal(images: Images) -> Images:
    return {name: [normalize_caption(text) for text in texts] for name, texts in images.items()}


@given(images=IMAGES, end=st.sampled_from(["\n", "\r\n"]))
def test_a_token_file_holds_the_captions_of_its_images(tmp_path_factory, images, end) -> None:
    path = write_tokens(tmp_path_factory.mktemp("t") / "Flickr8k.token.txt", images, end)
    file = read_captions(path)
    assert file.captions == normal(images)
    assert file.file_names == {name: name for name in images}
    assert file.format == "Flickr's token file"


@pytest.mark.parametrize("delimiter", DELIMITERS)
@given(images=IMAGES)
def test_a_csv_file_holds_the_captions_of_its_images(tmp_path_factory, delimiter, images) -> None:
    if delimiter == "|":
        images = {name: [text.replace("|", "") or "a" for text in texts] for name, texts in images.items()}
        images = {name: [text if text.strip() else "a" for text in texts] for name, texts in images.items()}
    path = write_csv(tmp_path_factory.mktemp("c") / "captions.txt", images, delimiter)
    assert read_captions(path).captions == normal(images)


def test_commas_quotes_and_a_byte_order_mark_are_read(tmp_path) -> None:
    path = tmp_path / "captions.txt"
    path.write_text(
        '\ufeffimage,caption\r\na.jpg,"a ""big"" cat, on a bed"\r\na.jpg,a cat\r\n\r\n', newline=""
    )
    assert read_captions(path).captions == {"a.jpg": ['a "big" cat, on a bed', "a cat"]}


def test_names_that_are_numbers_are_ids_of_that_type(tmp_path) -> None:
    assert set(read_captions(write_tokens(tmp_path / "t.txt", {"42": ["a"], "43": ["b"]})).captions) == {
        42,
        43,
    }


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("a.jpg#0\ta cat\nb.jpg a dog\n", ["line 2: 'b.jpg a dog' must be an image, # and a number"]),
        ("a.jpg#0\ta cat\na.jpg#0\ta dog\n", ["line 2: caption a.jpg#0 is duplicated"]),
        ("a.jpg#0\t \na.jpg#1\ta cat\n", ["caption 0 of image a.jpg is empty"]),
        (
            "image,caption\na.jpg,a cat, on a bed\nb.jpg,a\n",
            ["line 2: has 3 fields, expected 2; a caption with"],
        ),
        ("image,caption\na.jpg\nb.jpg,a\nb.jpg\n", ["line 2: has 1 fields, expected 2", "line 4: has 1"]),
    ],
)
def test_every_wrong_line_is_named(text: str, mistakes: list[str], tmp_path) -> None:
    path = tmp_path / "captions.txt"
    path.write_text(text)
    problems = check_captions(path).problems
    assert len(problems) == len(mistakes)
    for problem, mistake in zip(problems, mistakes, strict=True):
        assert problem.startswith(f"{path}: {mistake}")
    with pytest.raises(InputError) as error:
        read_captions(path)
    assert str(error.value) == problems[0]


@pytest.mark.parametrize("text", ["a cat\na dog\n", "name,words\na,b\n", 'image,caption\na.jpg,"a cat\n'])
def test_other_texts_are_refused_in_a_line(text: str, tmp_path) -> None:
    (tmp_path / "x.txt").write_text(text)
    with pytest.raises(
        InputError, match=r"x\.txt: (not a caption file; must be JSON, lines of|not valid CSV)"
    ):
        read_captions(tmp_path / "x.txt")


def test_splits_of_a_table_are_lists_of_ids(tmp_path) -> None:
    path = write_tokens(tmp_path / "t.txt", {"a.jpg": ["a"], "b.jpg": ["b"]})
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("b.jpg\n")
    assert list(read_captions(path, tmp_path / "Flickr_8k.trainImages.txt").captions) == ["b.jpg"]
    with pytest.raises(InputError, match=r"leave out 'train', and select images .*train_ids= and val_ids="):
        read_captions(path, splits="train")


def test_flickr8k_is_the_same_in_all_formats(shared, tmp_path) -> None:
    source = shared / "data/flickr8k/dataset_flickr8k.json"
    images = {
        i["filename"]: [s["raw"] for s in i["sentences"]] for i in json.loads(source.read_text())["images"]
    }
    karpathy = read_captions(source, splits=["train", "val", "test"])
    expected = {karpathy.file_names[i]: texts for i, texts in karpathy.captions.items()}
    assert len(expected) == 8000
    for path in (write_tokens(tmp_path / "t.txt", images), write_csv(tmp_path / "c.csv", images)):
        assert read_captions(path).captions == expected


def test_training_prediction_and_scores_read_tables(scenes, tmp_path, capfd) -> None:
    tables = {}
    for split in ("train", "val"):
        file = read_captions(scenes / f"captions_{split}.json")
        images = {f"{image_id:012d}.jpg": texts for image_id, texts in file.captions.items()}
        tables[split] = images
    token = write_tokens(tmp_path / "all.token.txt", tables["train"] | tables["val"])
    for split, images in tables.items():
        (tmp_path / f"{split}Images.txt").write_text("\n".join(images))
    small = ["hidden_size=16", "word_size=8", "attention_size=8"]
    files = [f"captions={token}", f"val_captions={token}"]
    ids = [f"{split}_ids={tmp_path}/{split}Images.txt" for split in tables]
    options = ["trainer.max_epochs=1", "data.num_workers=0", "vocabulary=small", f"out={tmp_path}/run"]
    config = compose_config(
        "train",
        f"features={scenes}/regions.h5",
        *files,
        *ids,
        *options,
        *(f"model.{size}" for size in small),
    )
    train(config)
    ensemble, stores = EnsembleRuns([str(tmp_path / "run")]).open()
    assert len(ensemble.first.vocabulary) > 10
    assert len(stores) == 1
    predictions = [{"image_id": name, "caption": texts[0]} for name, texts in tables["val"].items()]
    (tmp_path / "p.json").write_text(json.dumps(predictions))
    scoring = CaptionScoring(
        predictions=str(tmp_path / "p.json"),
        references=str(token),
        splits=[],
        ids=str(tmp_path / "valImages.txt"),
        metrics=["bleu"],
        tokenizer="python",
    )
    assert score_captions(scoring)["scores"]["BLEU-4"] > 0.99
    capfd.readouterr()
    line = run_error(capfd, "captions", "check", f"file={write_csv(tmp_path / 'c.csv', {'a': ['...']})}")
    assert "which has no word" in line
