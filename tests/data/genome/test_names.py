"""Vocabularies: synonyms mean one class, and what is written is read back."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.data.genome.names import most_frequent, read_names
from bua.errors import InputError


def written(tmp_path, text: str):
    (tmp_path / "names.txt").write_text(text)
    return tmp_path / "names.txt"


def test_synonyms_mean_the_class_that_is_named_first(tmp_path) -> None:
    names = read_names(written(tmp_path, "dog\nTshirt, t-shirt,t shirt\ngray,grey"))
    assert names.classes == ["dog", "tshirt", "gray"]
    assert [names.id(n) for n in ("dog", "t-shirt", "t shirt", "tshirt", "grey")] == [1, 2, 2, 2, 3]
    assert names.id("cat") is None
    assert names.text == "dog\ntshirt,t-shirt,t shirt\ngray,grey\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there are no names"),
        ("\n \n", "there are no names"),
        ("dog\n\ncat", "line 2 is ''; names separated by commas"),
        ("dog,\ncat", "line 1 is 'dog,'; names"),
        ("gray,grey\ndog\nGrey", "'grey' is on line 1 and on line 3; a name can mean one class only"),
    ],
)
def test_a_broken_vocabulary_is_named(text: str, message: str, tmp_path) -> None:
    with pytest.raises(InputError, match=rf"names.txt: .*{message}"):
        read_names(written(tmp_path, text))


def test_a_missing_or_binary_vocabulary_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match=r"names.txt: there is no such file"):
        read_names(tmp_path / "names.txt")
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"names.txt: cannot be read as UTF-8"):
        read_names(tmp_path / "names.txt")


def test_the_released_vocabularies_are_read_without_a_name_twice(shared) -> None:
    folder = shared / "data/butd_features_mini"
    objects, attributes = (read_names(folder / f"{n}_vocab.txt") for n in ("objects", "attributes"))
    assert (len(objects), len(attributes)) == (1600, 400)
    assert objects.classes[:3] == ["yolk", "goal", "bathroom"]
    shirt = next(n for n, line in enumerate(objects.lines, 1) if "tshirt" in line)
    assert [objects.id(name) for name in ("t shirt", "tshirt")] == [shirt, shirt]
    assert [attributes.id(name) for name in ("grey", "gray")] == [1, 1]
    assert sum(map(len, objects.lines)) == 1625
    assert sum(map(len, attributes.lines)) == 410


@given(
    counts=st.dictionaries(st.text(max_size=6), st.integers(1, 4), max_size=12).map(Counter),
    most=st.integers(1, 9),
)
def test_what_was_counted_is_read_back_from_its_file(counts, most, tmp_path_factory) -> None:
    names, passed = most_frequent(counts, most)
    assert len(names) <= most
    assert len(names) == most or len(names) + passed == len(counts)
    if len(names):
        path = tmp_path_factory.mktemp("n") / "n.txt"
        path.write_text(names.text, encoding="utf-8")
        assert read_names(path).lines == names.lines


@given(counts=st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 3)).map(Counter))
def test_the_most_frequent_names_are_taken_and_of_equals_the_first_in_the_alphabet(counts) -> None:
    names, passed = most_frequent(counts, 3)
    assert names.classes == sorted(counts, key=lambda n: (-counts[n], n))[:3]
    assert passed == 0


def test_names_that_no_file_can_hold_are_passed_over_and_counted() -> None:
    counts = Counter({"": 9, "a, b": 8, "x\ny": 7, "n.": 6, "dog": 5, "cat": 4})
    names, passed = most_frequent(counts, 1)
    assert (names.classes, passed) == (["dog"], 4)
