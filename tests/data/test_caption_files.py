"""Readers report the first mistake of a caption file, and the validator all of them."""

import pytest

from bua.data.captions.files import read_captions
from bua.data.captions.files.check import check_captions, describe_words, find_wordless_captions
from bua.errors import InputError
from bua.store.reader import FeatureStore
from bua.text import Vocabulary
from tests.helpers.caption_files import CAPTION, IMAGE, KARPATHY_IMAGE, SENTENCE, coco_captions
from tests.helpers.data import write_json
from tests.helpers.stores import regions, write_store

BROKEN = {
    "no images": ({"images": [], "annotations": []}, "holds no images"),
    "an empty list": ([], "holds no images"),
    "an empty object": ({}, "holds no images"),
    "no list of annotations": (coco_captions(annotations={}), "annotations must be a list, not {}"),
    "a duplicate image": (coco_captions(images=[IMAGE, IMAGE]), "image 1 is duplicated"),
    "a duplicate caption": (coco_captions(annotations=[CAPTION, CAPTION]), "caption 10 is duplicated"),
    "a caption of an unknown image": (
        coco_captions(annotations=[CAPTION, CAPTION | {"id": 11, "image_id": 5}]),
        "caption 11 refers to image 5, which is not in images",
    ),
    "an empty caption": (
        coco_captions(annotations=[CAPTION | {"caption": " \n"}]),
        "caption 10 of image 1 is empty",
    ),
    "a control character": (
        coco_captions(annotations=[CAPTION | {"caption": "a\x00cat"}]),
        "caption 10 of image 1 holds the control character U+0000",
    ),
    "an invisible caption": (
        coco_captions(annotations=[CAPTION | {"caption": "\u200b \u00ad"}]),
        "caption 10 of image 1 is empty",
    ),
    "a surrogate": (
        coco_captions(annotations=[CAPTION | {"caption": "a \ud83d"}]),
        "caption 10 of image 1 holds the control character U+D83D",
    ),
    "a caption that is a number": (
        coco_captions(annotations=[CAPTION | {"caption": 3}]),
        "annotations[0] (id 10): caption is 3, expected a string",
    ),
    "a missing caption": (
        coco_captions(annotations=[{"id": 10, "image_id": 1}]),
        "annotations[0] (id 10): has no caption",
    ),
    "a boolean id": (
        coco_captions(images=[IMAGE, {"id": True, "file_name": "b"}]),
        "images[1] (id True): id is True, expected an integer or a string",
    ),
    "an image that is not an object": (coco_captions(images=[IMAGE, 3]), "images[1] is not an object"),
    "ids of two types": (
        coco_captions(images=[IMAGE, {"id": "b"}]),
        "image ids must be all numbers or all texts; 'b' is a text, others are numbers",
    ),
    "an image in two splits": (
        {"images": [KARPATHY_IMAGE, KARPATHY_IMAGE | {"split": "val", "sentences": []}]},
        "image 1 is duplicated",
    ),
    "a missing cocoid": (
        {"images": [KARPATHY_IMAGE, {k: v for k, v in KARPATHY_IMAGE.items() if k != "cocoid"}]},
        "images[1] (image 0): has no cocoid",
    ),
    "a missing split": (
        {"images": [KARPATHY_IMAGE, KARPATHY_IMAGE | {"cocoid": 2, "split": None}]},
        "images[1] (image 0): split is None, expected a string",
    ),
    "a sentence without text": (
        {"images": [KARPATHY_IMAGE | {"sentences": [SENTENCE, {"tokens": ["a"]}]}]},
        "image 1: sentences[1]: has no raw",
    ),
    "an empty sentence": (
        {"images": [KARPATHY_IMAGE | {"sentences": [SENTENCE | {"raw": ""}]}]},
        "sentence 7 of image 1 is empty",
    ),
    "a duplicate sentence id": (
        {"images": [KARPATHY_IMAGE, KARPATHY_IMAGE | {"cocoid": 2}]},
        "image 2: sentence 7 is duplicated",
    ),
    "a sentence id that is a text": (
        {"images": [KARPATHY_IMAGE | {"sentences": [SENTENCE | {"sentid": "7"}]}]},
        "image 1: sentences[0]: sentid is '7', expected an integer or null",
    ),
    "a duplicate key": ('{"1": "a", "2": "b", "1": "c"}', "image 1 is duplicated"),
    "a number written in two ways": ({"1": "a", "01": "c"}, "image 1 is duplicated"),
    "a value that is a number": (
        {"1": "a", "2": 3},
        "image 2: 3 is neither a caption nor a list of captions",
    ),
    "an empty caption in a list": ({"1": ["a", ""]}, "caption 2 of image 1 is empty"),
    "an entry that is not an object": (["a cat"], "entry 0 is not an object"),
    "an entry without image": (
        [{"caption": "a"}],
        'entry 0: needs an "image_id", or the name of the image file as "image"',
    ),
    "an entry without caption": (
        [{"image_id": 1}],
        'entry 0 (image 1): needs a "caption" or a list of "captions", not None',
    ),
    "an entry with caption and captions": (
        [{"image_id": 1, "caption": "a", "captions": ["b"]}],
        'entry 0 (image 1): must have either "caption" or "captions", not both',
    ),
    "an empty caption of an entry": ([{"image_id": 1, "caption": "\t"}], "entry 0 of image 1 is empty"),
    "a duplicate entry": ([{"image": "a.jpg", "captions": ["a"]}] * 2, "image a.jpg is duplicated"),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_mistakes_are_raised_by_the_reader_and_reported_by_the_validator(name: str, tmp_path) -> None:
    content, message = BROKEN[name]
    path = write_json(tmp_path, content)
    with pytest.raises(InputError) as error:
        read_captions(path)
    assert str(error.value) == f"{path}: {message}"
    assert f"{path}: {message}" in check_captions(path).problems


def test_mistakes_are_collected() -> None:
    assert len(BROKEN) == 33


OTHER_CONTENT = [
    {"questions": [{"question_id": 1}]},
    {"1": {"caption": "a"}},
    {"images": 3},
    {"a": [{"b": 1}]},
    3,
    None,
]


@pytest.mark.parametrize("content", OTHER_CONTENT)
def test_other_files_are_rejected_with_the_expected_formats(content, tmp_path) -> None:
    for read in (read_captions, check_captions):
        with pytest.raises(InputError, match=r'file.json: not a caption file; must be COCO.s \{"images"'):
            read(write_json(tmp_path, content))


def test_validator_reports_every_mistake_of_a_file(tmp_path) -> None:
    annotations = [
        CAPTION | {"id": 1, "caption": ""},
        CAPTION | {"id": 2},
        CAPTION | {"id": 3, "image_id": 9},
        CAPTION | {"id": 4, "caption": "a\x07"},
        {"id": 5},
        CAPTION | {"id": 2, "image_id": 2},
    ]
    path = write_json(
        tmp_path, coco_captions(images=[IMAGE, {"id": 2}, {"id": 3}, 4], annotations=annotations)
    )
    store = write_store(tmp_path / "f.h5", {1: regions(3), 3: regions(2)})
    report = check_captions(path, store=FeatureStore(store))
    assert [problem.removeprefix(f"{path}: ") for problem in report.problems] == [
        "images[3] is not an object",
        "annotations[4] (id 5): has no image_id",
        "caption 3 refers to image 9, which is not in images",
        "caption 2 is duplicated",
        "caption 1 of image 1 is empty",
        "caption 4 of image 1 holds the control character U+0007",
        "image 2 has no captions",
        "image 3 has no captions",
        f"image 2 has no regions in {store}",
    ]


def test_repeated_captions_are_remarked(tmp_path) -> None:
    path = write_json(tmp_path, {"1": ["a cat", "a  cat", "a dog"], "2": "a cat"})
    report = check_captions(path)
    assert report.problems == []
    assert report.remarks == [f"{path}: image 1 has the caption 'a cat' 2 times"]


def test_words_are_described(tmp_path) -> None:
    path = write_json(tmp_path, {"1": ["a cat and a zebra", "."], "2": "a cow"})
    lines = list(describe_words(read_captions(path), Vocabulary(["a", "cat"], "karpathy"), 2))
    assert lines == [
        f"{path}: plain object, 2 images, 3 captions, 7 words",
        f"{path}: 1 captions have more than 2 words and are truncated in training",
        f"{path}: 42.86% of the words (3) are unknown, most frequently and (1), zebra (1), cow (1)",
    ]


@pytest.mark.parametrize(
    ("tokenizer", "empty"), [("karpathy", ["...", "!!"]), ("caffe", ["."]), ("ptb_like", ["...", "!!", "."])]
)
def test_captions_without_a_word_are_reported(tokenizer: str, empty, tmp_path) -> None:
    path = write_json(tmp_path, {"7": ["a cat", *empty], "8": ["a dog !"]})
    problems = list(find_wordless_captions(read_captions(path), Vocabulary(["a"], tokenizer)))
    assert problems == [f"{path}: image 7 has the caption {text!r}, which has no word" for text in empty]


REAL = {"coco_captions_val2017/captions_val2017.json": (5000, 25014), "coco_mini/captions.json": (144, 720)}


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_valid(name: str, shared) -> None:
    report = check_captions(shared / "data" / name)
    assert report.problems == []
    captions = report.file.captions.values()
    assert (len(captions), sum(map(len, captions))) == REAL[name]
    assert not list(find_wordless_captions(report.file, Vocabulary([], "karpathy")))
    assert not any("\n" in text for texts in captions for text in texts)
