"""Constraints are phrases of known words, read from a file or made from detected classes."""

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
from bua.structures.regions import Regions
from bua.text.plural import plural
from bua.text.vocabulary import Vocabulary
from tests.helpers.stores import regions

VOCABULARY = Vocabulary(["a", "dog", "dogs", "fire", "hydrant"], "karpathy")


def read(tmp_path, content):
    """Return constraints and the reported lines."""
    path, lines = tmp_path / "c.json", []
    path.write_text(json.dumps(content))
    return read_constraints(path, VOCABULARY, lines.append), lines


def test_texts_become_phrases_of_word_indices(tmp_path) -> None:
    found, lines = read(tmp_path, {"7": ["fire hydrant", ["dog", "dogs", "hound"]]})
    index = VOCABULARY.index
    assert found == {"7": [[(index("fire"), index("hydrant"))], [(index("dog"),), (index("dogs"),)]]}
    assert lines == []


def test_constraints_of_unknown_words_are_reported_and_ignored(tmp_path) -> None:
    found, lines = read(tmp_path, {"7": [["hound", "fire dog hound"]]})
    assert found == {"7": [[]]}
    assert build_automata(found, [7], None).num_states == 1
    assert lines == [
        f"{tmp_path}/c.json: 1 constraints are ignored: the vocabulary lacks hound / fire dog hound"
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (["dog"], "must be an object of lists"),
        ({"7": "dog"}, f"image 7: must have a list of at most {MAX_CONSTRAINTS}"),
        ({"7": ["dog"] * (MAX_CONSTRAINTS + 1)}, f"image 7: must have a list of at most {MAX_CONSTRAINTS}"),
        ({"7": [3]}, "image 7: 3 is not a text"),
        ({"7": [[]]}, r"image 7: \[\] is not a text"),
        ({"7": ["dog", " "]}, "image 7: ' ' is not a text"),
    ],
)
def test_broken_constraints_are_reported_with_file_and_image(content, message, tmp_path) -> None:
    with pytest.raises(InputError, match=f"c.json: {message}"):
        read(tmp_path, content)


def test_images_may_have_no_constraints() -> None:
    built = build_automata({"7": [[(4,)]]}, [7, 8], None)
    assert built.num_satisfied.tolist() == [[0, 1], [0, -1]]


def test_detected_classes_are_distinct_sorted_and_filtered() -> None:
    plain = regions(5)
    some = Regions(
        plain.features,
        plain.boxes,
        plain.size,
        class_id=np.array([0, 1, 0, 2, 3], np.int32),
        class_score=np.array([0.3, 0.5, 0.9, 0.1, 0.8], np.float32),
    )
    names = ["dog,hound", "bus", "cat", "arm"]
    options = {"max_constraints": 2, "threshold": 0.2, "exclude": ["arm"]}
    found = detected_constraints(some, names, **options)
    assert found == [["dog", "dogs", "hound", "hounds"], ["bus", "buses"]]
    capitalized = detected_constraints(some, [name.title() for name in names], **options)
    assert capitalized[1][0] == "Bus"
    assert detected_constraints(some, names, max_constraints=1, threshold=0.95, exclude=[]) == []
    assert detected_constraints(regions(2), names, max_constraints=3, threshold=0.1, exclude=[]) == []


def test_regular_plurals_are_formed() -> None:
    assert [plural(n) for n in ("dog", "bus", "box", "church", "cherry", "toy")] == [
        "dogs",
        "buses",
        "boxes",
        "churches",
        "cherries",
        "toys",
    ]


def test_irregular_plurals_are_known() -> None:
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


def test_constraints_are_satisfied_by_any_of_their_phrases() -> None:
    index = VOCABULARY.index
    constraints = [[(index("fire"), index("hydrant"))], [(index("dog"),), (index("dogs"),)], []]
    for text, count in (
        ("a fire hydrant", 1),
        ("a fire dog hydrant", 1),
        ("dogs dog", 1),
        ("dogs fire hydrant", 2),
        ("hydrant fire", 0),
        ("", 0),
    ):
        assert count_satisfied(text.split(), constraints, VOCABULARY) == count
