"""Every mistake in a file of captions is named: the first one by readers, all by the validator."""

import json
from pathlib import Path

import pytest

from bua.data.captions.files import read_captions
from bua.data.captions.files.check import check_captions, describe_words, find_wordless_captions
from bua.errors import InputError
from bua.store.reader import FeatureStore
from bua.text import Vocabulary
from tests.helpers.stores import regions, write_store

IMAGE = {"id": 1, "file_name": "a.jpg"}
CAPTION = {"id": 10, "image_id": 1, "caption": "a cat"}
SENTENCE = {"raw": "A cat.", "tokens": ["a", "cat"], "sentid": 7}
SPLIT = {"cocoid": 1, "imgid": 0, "filename": "a.jpg", "split": "train", "sentences": [SENTENCE]}


def written(folder: Path, content: object, name: str = "file.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def coco(**more: object) -> dict[str, object]:
    return {"images": [IMAGE], "annotations": [CAPTION]} | more


BROKEN = {
    "no images": ({"images": [], "annotations": []}, "holds no images"),
    "an empty list": ([], "holds no images"),
    "an empty object": ({}, "holds no images"),
    "no list of annotations": (coco(annotations={}), "annotations must be a list, not {}"),
    "an image twice": (coco(images=[IMAGE, IMAGE]), "image 1 is duplicated"),
    "a caption twice": (coco(annotations=[CAPTION, CAPTION]), "caption 10 is duplicated"),
    "a caption of no image": (
        coco(annotations=[CAPTION, CAPTION | {"id": 11, "image_id": 5}]),
        "caption 11 refers to image 5, which is not in images",
    ),
    "an empty caption": (coco(annotations=[CAPTION | {"caption": " \n"}]), "caption 10 of image 1 is empty"),
    "a control character": (
        coco(annotations=[CAPTION | {"caption": "a\x00cat"}]),
        "caption 10 of image 1 holds the control character U+0000",
    ),
    "a caption that is not seen": (
        coco(annotations=[CAPTION | {"caption": "\u200b \u00ad"}]),
        "caption 10 of image 1 is empty",
    ),
    "half of a character": (
        coco(annotations=[CAPTION | {"caption": "a \ud83d"}]),
        "caption 10 of image 1 holds the control character U+D83D",
    ),
    "a caption that is a number": (
        coco(annotations=[CAPTION | {"caption": 3}]),
        "annotations[0] (id 10): caption is 3, expected a string",
    ),
    "no caption at all": (
        coco(annotations=[{"id": 10, "image_id": 1}]),
        "annotations[0] (id 10): caption is None, expected a string",
    ),
    "an id that is true": (
        coco(images=[IMAGE, {"id": True, "file_name": "b"}]),
        "images[1] (id True): id is True, expected an integer or a string",
    ),
    "an image that is no object": (coco(images=[IMAGE, 3]), "images[1] is not an object"),
    "two kinds of ids": (
        coco(images=[IMAGE, {"id": "b"}]),
        "image ids must be all numbers or all texts; 'b' is a text, others are numbers",
    ),
    "an image of two splits": (
        {"images": [SPLIT, SPLIT | {"split": "val", "sentences": []}]},
        "image 1 is duplicated",
    ),
    "an image without cocoid among others": (
        {"images": [SPLIT, {k: v for k, v in SPLIT.items() if k != "cocoid"}]},
        "images[1] (image 0): cocoid is None, expected an integer",
    ),
    "no split": (
        {"images": [SPLIT, SPLIT | {"cocoid": 2, "split": None}]},
        "images[1] (image 0): split is None, expected a string",
    ),
    "a sentence without text": (
        {"images": [SPLIT | {"sentences": [SENTENCE, {"tokens": ["a"]}]}]},
        "image 1: sentences[1]: raw is None, expected a string",
    ),
    "an empty sentence": (
        {"images": [SPLIT | {"sentences": [SENTENCE | {"raw": ""}]}]},
        "sentence 7 of image 1 is empty",
    ),
    "a sentence of two images": (
        {"images": [SPLIT, SPLIT | {"cocoid": 2}]},
        "image 2: sentence 7 is duplicated",
    ),
    "a sentence named by a text": (
        {"images": [SPLIT | {"sentences": [SENTENCE | {"sentid": "7"}]}]},
        "image 1: sentences[0]: sentid is '7', expected an integer",
    ),
    "a member twice": ('{"1": "a", "2": "b", "1": "c"}', "image 1 is duplicated"),
    "a number in two forms": ({"1": "a", "01": "c"}, "image 1 is duplicated"),
    "a member that is a number": (
        {"1": "a", "2": 3},
        "image 2: 3 is neither a caption nor a list of captions",
    ),
    "an empty one of a list": ({"1": ["a", ""]}, "caption 2 of image 1 is empty"),
    "an entry that is no object": (["a cat"], "entry 0 is not an object"),
    "an entry without image": (
        [{"caption": "a"}],
        'entry 0: needs an "image_id", or the name of the image file as "image"',
    ),
    "an entry without caption": (
        [{"image_id": 1}],
        'entry 0 (image 1): needs a "caption" or a list of "captions", not None',
    ),
    "an entry with two kinds of captions": (
        [{"image_id": 1, "caption": "a", "captions": ["b"]}],
        'entry 0 (image 1): must have either "caption" or "captions", not both',
    ),
    "an empty entry": ([{"image_id": 1, "caption": "\t"}], "entry 0 of image 1 is empty"),
    "a list of captions twice": ([{"image": "a.jpg", "captions": ["a"]}] * 2, "image a.jpg is duplicated"),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_mistake_stops_the_reader_and_is_found_by_the_validator(name: str, tmp_path) -> None:
    content, message = BROKEN[name]
    path = written(tmp_path, content)
    with pytest.raises(InputError) as stopped:
        read_captions(path)
    assert str(stopped.value) == f"{path}: {message}"
    assert f"{path}: {message}" in check_captions(path).problems


def test_mistakes_are_listed() -> None:
    assert len(BROKEN) == 33


OTHERS = [
    {"questions": [{"question_id": 1}]},
    {"1": {"caption": "a"}},
    {"images": 3},
    {"a": [{"b": 1}]},
    3,
    None,
]


@pytest.mark.parametrize("content", OTHERS)
def test_what_is_no_file_of_captions_is_told_what_would_be(content, tmp_path) -> None:
    for read in (read_captions, check_captions):
        with pytest.raises(InputError, match=r'file.json: not a caption file; must be COCO.s \{"images"'):
            read(written(tmp_path, content))


def test_the_validator_lists_every_mistake_of_a_file(tmp_path) -> None:
    annotations = [
        CAPTION | {"id": 1, "caption": ""},
        CAPTION | {"id": 2},
        CAPTION | {"id": 3, "image_id": 9},
        CAPTION | {"id": 4, "caption": "a\x07"},
        {"id": 5},
        CAPTION | {"id": 2, "image_id": 2},
    ]
    path = written(tmp_path, coco(images=[IMAGE, {"id": 2}, {"id": 3}, 4], annotations=annotations))
    store = write_store(tmp_path / "f.h5", {1: regions(3), 3: regions(2)})
    found = check_captions(path, store=FeatureStore(store))
    assert [problem.removeprefix(f"{path}: ") for problem in found.problems] == [
        "images[3] is not an object",
        "annotations[4] (id 5): image_id is None, expected an integer or a string",
        "caption 3 refers to image 9, which is not in images",
        "caption 2 is duplicated",
        "caption 1 of image 1 is empty",
        "caption 4 of image 1 holds the control character U+0007",
        "image 2 has no captions",
        "image 3 has no captions",
        f"image 2 has no regions in {store}",
    ]


def test_the_same_caption_twice_is_a_remark(tmp_path) -> None:
    path = written(tmp_path, {"1": ["a cat", "a  cat", "a dog"], "2": "a cat"})
    found = check_captions(path)
    assert found.problems == []
    assert found.remarks == [f"{path}: image 1 has the caption 'a cat' 2 times"]


def test_words_are_counted(tmp_path) -> None:
    path = written(tmp_path, {"1": ["a cat and a zebra", "."], "2": "a cow"})
    lines = list(describe_words(read_captions(path), Vocabulary(["a", "cat"], "karpathy"), 2))
    assert lines == [
        f"{path}: plain object, 2 images, 3 captions, 7 words",
        f"{path}: 1 captions have more than 2 words and are cut in training",
        f"{path}: 42.86% of the words (3) are unknown, most frequently and (1), zebra (1), cow (1)",
    ]


@pytest.mark.parametrize(
    ("tokenizer", "empty"), [("karpathy", ["...", "!!"]), ("caffe", ["."]), ("ptb_like", ["...", "!!", "."])]
)
def test_a_caption_of_which_a_tokeniser_makes_no_word_is_a_problem(tokenizer: str, empty, tmp_path) -> None:
    path = written(tmp_path, {"7": ["a cat", *empty], "8": ["a dog !"]})
    found = list(find_wordless_captions(read_captions(path), Vocabulary(["a"], tokenizer)))
    assert found == [f"{path}: image 7 has the caption {text!r}, which has no word" for text in empty]


REAL = {"coco_captions_val2017/captions_val2017.json": (5000, 25014), "coco_mini/captions.json": (144, 720)}


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_sound(name: str, shared) -> None:
    found = check_captions(shared / "data" / name)
    assert found.problems == []
    captions = found.file.captions.values()
    assert (len(captions), sum(map(len, captions))) == REAL[name]
    assert not list(find_wordless_captions(found.file, Vocabulary([], "karpathy")))
    assert not any("\n" in text for texts in captions for text in texts)
