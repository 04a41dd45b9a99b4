"""Answer lists in the formats of several projects, and the error messages of invalid ones."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.errors import InputError
from bua.text import AnswerVocabulary, normalize

ANSWERS = ["net", "", "t shirt", "2", "at&t", "don't know"]
INDICES = {answer: n for n, answer in enumerate(ANSWERS)}
#: Valid files with the same answers in the same order.
FILES: dict[str, Any] = {
    "label2ans.json": ANSWERS,
    "ans2label.json": dict(reversed(INDICES.items())),
    "answer_dict.json": [INDICES, {str(n): answer for answer, n in INDICES.items()}],
}


def write(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_order_of_a_published_list_is_kept(name: str, tmp_path) -> None:
    vocabulary = AnswerVocabulary.load(write(tmp_path, name, FILES[name]))
    assert vocabulary.answers == vocabulary.surface_forms == tuple(ANSWERS)
    assert vocabulary.soft_scores(["T-shirt"] * 10) == {2: 1.0}


def test_the_unknown_line_of_pythia_is_dropped(tmp_path) -> None:
    path = write(tmp_path, "answers_vqa.txt", "<unk>\n0\nfire hydrant\nT-shirt\n")
    vocabulary = AnswerVocabulary.load(path)
    assert vocabulary.answers == ("0", "fire hydrant", "t shirt")
    assert vocabulary.surface_forms == ("0", "fire hydrant", "T-shirt")


def test_unknown_is_not_an_answer_in_any_format(tmp_path) -> None:
    for content in (["<unk>", "0", "cat"], {"0": 0, "<unk>": 1, "cat": 2}):
        assert AnswerVocabulary.load(write(tmp_path, "a.json", content)).answers == ("0", "cat")
    with pytest.raises(InputError, match="contains no answers"):
        AnswerVocabulary.load(write(tmp_path, "a.json", ["<unk>"]))


def test_our_own_format_survives_loading(tmp_path) -> None:
    vocabulary = AnswerVocabulary.from_questions([("T-shirt", ["T-shirt"])], min_count=1, keep_empty=False)
    loaded = AnswerVocabulary.load(write(tmp_path, "answers.json", vocabulary.to_dict()))
    assert (loaded.answers, loaded.surface_forms, loaded.sha256) == (
        ("t shirt",),
        ("T-shirt",),
        vocabulary.sha256,
    )


@given(texts=st.lists(st.text(max_size=6), min_size=1, unique_by=normalize))
def test_a_list_and_a_mapping_to_indices_give_the_same_vocabulary(texts, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("lists")
    indices = {text: n for n, text in enumerate(texts)}
    one = AnswerVocabulary.load(write(folder, "a.json", texts))
    other = AnswerVocabulary.load(write(folder, "b.json", indices))
    assert one.answers == other.answers == tuple(map(normalize, texts))
    assert one.surface_forms == other.surface_forms == tuple(texts)


INVALID = {
    "missing index": ({"a1": 0, "b1": 2}, "index 1 is missing, although indices go up to 2"),
    "duplicate index": ({"a1": 0, "b1": 0}, "'a1' and 'b1' both have index 0"),
    "string as index": ({"a1": "0"}, "the index of 'a1' must be a non-negative integer, got '0'"),
    "boolean as index": ({"a1": True}, "the index of 'a1' must be a non-negative integer, got True"),
    "negative index": ({"a1": -1}, "the index of 'a1' must be a non-negative integer, got -1"),
    "duplicate answer": (["red", "blue", "red"], "'red' and 'red' are the same answer"),
    "two forms of an answer": (
        ["T-shirt", "t shirt"],
        "'T-shirt' and 't shirt' are the same answer, both normalize to 't shirt'",
    ),
    "number as answer": (["red", 3], "[1] is 3, expected a string"),
    "objects that do not agree": ([{"a1": 0}, {"0": "b1"}], "do not agree"),
    "three objects": ([{"a1": 0}, {"0": "a1"}, {}], "[0] is {'a1': 0}, expected a string"),
    "empty list": ([], "contains no answers"),
    "empty object": ({}, "contains no answers"),
    "string": ('"red"', "is 'red', expected a list"),
    "invalid JSON": ("[1,", "not valid JSON"),
    "ours, modified": ({"answers": ["a1"], "surface": ["a1"], "sha256": "0"}, "hash"),
    "ours without surface": ({"answers": ["a1"]}, "has no surface"),
}


@pytest.mark.parametrize("name", sorted(INVALID))
def test_an_invalid_list_is_refused_with_its_file_name(name: str, tmp_path) -> None:
    content, message = INVALID[name]
    with pytest.raises(InputError) as error:
        AnswerVocabulary.load(write(tmp_path, "list.json", content))
    assert message in str(error.value)
    assert "list.json" in str(error.value)


def test_an_empty_line_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match=r"a.txt: line 2 is empty, expected one answer per line"):
        AnswerVocabulary.load(write(tmp_path, "a.txt", "red\n\nblue\n"))


@pytest.mark.parametrize("name", ["a.txt", "a.json"])
def test_a_missing_file_is_named(name: str, tmp_path) -> None:
    with pytest.raises(InputError, match=f"{name}: file does not exist"):
        AnswerVocabulary.load(tmp_path / name)
