"""Constraints: words of a vocabulary, or told and left out; what a detector saw, best first."""

import json

import numpy as np
import pytest

from bua.data.captions.constraints import (
    MAX_CONSTRAINTS,
    build_automata,
    count_satisfied,
    detected_constraints,
    read_constraints,
)
from bua.errors import InputError
from bua.text.plural import plural
from bua.text.vocabulary import Vocabulary
from tests.helpers.stores import regions

VOCABULARY = Vocabulary(["a", "dog", "dogs", "fire", "hydrant"], "karpathy")


def read(tmp_path, content):
    """Return constraints and what was told of them."""
    path, told = tmp_path / "c.json", []
    path.write_text(json.dumps(content))
    return read_constraints(path, VOCABULARY, told.append), told


def test_texts_become_phrases_of_known_words(tmp_path) -> None:
    found, told = read(tmp_path, {"7": ["fire hydrant", ["dog", "dogs", "hound"]]})
    index = VOCABULARY.index
    assert found == {"7": [[(index("fire"), index("hydrant"))], [(index("dog"),), (index("dogs"),)]]}
    assert told == []


def test_what_has_no_known_words_is_told_and_left_out(tmp_path) -> None:
    found, told = read(tmp_path, {"7": [["hound", "fire dog hound"]]})
    assert found == {"7": [[]]}
    assert build_automata(found, [7], None).num_states == 1
    assert told == [
        f"{tmp_path}/c.json: 1 constraints are ignored: the vocabulary lacks hound / fire dog hound"
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (["dog"], "an object of lists"),
        ({"7": "dog"}, f"image 7: a list of at most {MAX_CONSTRAINTS}"),
        ({"7": ["dog"] * (MAX_CONSTRAINTS + 1)}, f"image 7: a list of at most {MAX_CONSTRAINTS}"),
        ({"7": [3]}, "image 7: 3 is not a text"),
        ({"7": [[]]}, r"image 7: \[\] is not a text"),
        ({"7": ["dog", " "]}, "image 7: ' ' is not a text"),
    ],
)
def test_broken_constraints_are_one_line(content, said, tmp_path) -> None:
    with pytest.raises(InputError, match=f"c.json: {said}"):
        read(tmp_path, content)


def test_images_without_constraints_may_say_anything() -> None:
    built = build_automata({"7": [[(4,)]]}, [7, 8], None)
    assert built.met.tolist() == [[0, 1], [0, -1]]


def test_classes_come_once_best_first_without_those_left_out() -> None:
    some = regions(5)
    some = type(some)(
        some.features,
        some.boxes,
        some.size,
        class_id=np.array([0, 1, 0, 2, 3], np.int32),
        class_score=np.array([0.3, 0.5, 0.9, 0.1, 0.8], np.float32),
    )
    names = ["dog,hound", "bus", "cat", "arm"]
    found = detected_constraints(some, names, max_constraints=2, threshold=0.2, exclude=["arm"])
    assert found == [["dog", "dogs", "hound", "hounds"], ["bus", "buses"]]
    assert (
        detected_constraints(some, [name.title() for name in names], max_constraints=2, threshold=0.2, exclude=["arm"])[
            1
        ][0]
        == "Bus"
    )
    assert detected_constraints(some, names, max_constraints=1, threshold=0.95, exclude=[]) == []
    assert detected_constraints(regions(2), names, max_constraints=3, threshold=0.1, exclude=[]) == []


def test_plurals_are_regular() -> None:
    assert [plural(n) for n in ("dog", "bus", "box", "church", "cherry", "toy")] == [
        "dogs",
        "buses",
        "boxes",
        "churches",
        "cherries",
        "toys",
    ]


def test_plurals_of_things_in_photographs_are_those_that_people_write() -> None:
    irregular = ["man", "snowman", "police woman", "child", "mouse", "knife", "leaf", "person", "tomato"]
    assert [plural(n) for n in irregular] == [
        "men",
        "snowmen",
        "police women",
        "children",
        "mice",
        "knives",
        "leaves",
        "people",
        "tomatoes",
    ]
    for noun in ("sheep", "scissors", "blue jeans", "Glasses"):
        assert plural(noun) == noun
    assert plural("human") == "humans"


def test_a_constraint_is_met_by_any_of_its_phrases_word_for_word() -> None:
    index = VOCABULARY.index
    wanted = [[(index("fire"), index("hydrant"))], [(index("dog"),), (index("dogs"),)], []]
    for text, count in (
        ("a fire hydrant", 1),
        ("a fire dog hydrant", 1),
        ("dogs dog", 1),
        ("dogs fire hydrant", 2),
        ("hydrant fire", 0),
        ("", 0),
    ):
        assert count_satisfied(text.split(), wanted, VOCABULARY) == count
