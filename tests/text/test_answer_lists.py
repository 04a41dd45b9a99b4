"""Lists of answers in the formats of several projects are one list; what is broken in one is named."""

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
#: Sound files of the same answers in the same order.
FILES: dict[str, Any] = {
    "label2ans.json": ANSWERS,
    "ans2label.json": dict(reversed(INDICES.items())),
    "answer_dict.json": [INDICES, {str(n): answer for answer, n in INDICES.items()}],
}


def written(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_there_are_files_of_others() -> None:
    assert len(FILES) == 3


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_order_of_a_list_of_others_is_kept(name: str, tmp_path) -> None:
    vocabulary = AnswerVocabulary.load(written(tmp_path, name, FILES[name]))
    assert vocabulary.answers == vocabulary.surface == tuple(ANSWERS)
    assert vocabulary.soft_scores(["T-shirt"] * 10) == {2: 1.0}


def test_the_unknown_line_of_pythia_is_left_out(tmp_path) -> None:
    path = written(tmp_path, "answers_vqa.txt", "<unk>\n0\nfire hydrant\nT-shirt\n")
    vocabulary = AnswerVocabulary.load(path)
    assert vocabulary.answers == ("0", "fire hydrant", "t shirt")
    assert vocabulary.surface == ("0", "fire hydrant", "T-shirt")


def test_no_list_makes_an_answer_of_what_is_unknown(tmp_path) -> None:
    for content in (["<unk>", "0", "cat"], {"0": 0, "<unk>": 1, "cat": 2}):
        assert AnswerVocabulary.load(written(tmp_path, "a.json", content)).answers == ("0", "cat")
    with pytest.raises(InputError, match="there are no answers in it"):
        AnswerVocabulary.load(written(tmp_path, "a.json", ["<unk>"]))


def test_our_own_list_comes_back_as_it_was(tmp_path) -> None:
    vocabulary = AnswerVocabulary.count([("T-shirt", ["T-shirt"])], min_count=1, keep_empty=False)
    again = AnswerVocabulary.load(written(tmp_path, "answers.json", vocabulary.to_dict()))
    assert (again.answers, again.surface, again.sha256) == (("t shirt",), ("T-shirt",), vocabulary.sha256)


@given(texts=st.lists(st.text(max_size=6), min_size=1, unique_by=normalize))
def test_a_list_and_its_indices_are_the_same_vocabulary(texts, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("lists")
    indices = {text: n for n, text in enumerate(texts)}
    one = AnswerVocabulary.load(written(folder, "a.json", texts))
    other = AnswerVocabulary.load(written(folder, "b.json", indices))
    assert one.answers == other.answers == tuple(map(normalize, texts))
    assert one.surface == other.surface == tuple(texts)


BROKEN = {
    "a hole": ({"a1": 0, "b1": 2}, "no answer has index 1, but there is one with 2"),
    "an index twice": ({"a1": 0, "b1": 0}, "'a1' and 'b1' both have index 0"),
    "an index that is a text": ({"a1": "0"}, "the index of 'a1' is '0', a whole number is needed"),
    "an index that is a truth value": ({"a1": True}, "the index of 'a1' is True"),
    "an index below 0": ({"a1": -1}, "the index of 'a1' is -1"),
    "an answer twice": (["red", "blue", "red"], "'red' and 'red' are one answer, 'red'"),
    "an answer in two forms": (["T-shirt", "t shirt"], "'T-shirt' and 't shirt' are one answer, 't shirt'"),
    "a number": (["red", 3], "answer 1 is 3, a text is needed"),
    "two objects that do not agree": ([{"a1": 0}, {"0": "b1"}], "do not agree"),
    "nothing": ([], "there are no answers in it"),
    "no indices": ({}, "there are no answers in it"),
    "a text": ('"red"', "a list of answers is needed"),
    "broken JSON": ("[1,", "not JSON"),
    "ours, changed": ({"answers": ["a1"], "surface": ["a1"], "sha256": "0"}, "hash"),
    "ours without surface": ({"answers": ["a1"]}, "not a list of answers with their surface forms"),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_what_is_broken_in_a_list_is_named_with_the_file(name: str, tmp_path) -> None:
    content, message = BROKEN[name]
    with pytest.raises(InputError) as error:
        AnswerVocabulary.load(written(tmp_path, "list.json", content))
    assert message in str(error.value)
    assert "list.json" in str(error.value)


def test_an_empty_line_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match=r"a.txt: line 2 is empty, an answer a line is needed"):
        AnswerVocabulary.load(written(tmp_path, "a.txt", "red\n\nblue\n"))


@pytest.mark.parametrize("name", ["a.txt", "a.json"])
def test_a_file_that_is_not_there_is_named(name: str, tmp_path) -> None:
    with pytest.raises(InputError, match=f"{name}: there is no such file"):
        AnswerVocabulary.load(tmp_path / name)
