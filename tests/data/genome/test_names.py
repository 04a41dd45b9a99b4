"""Vocabularies of classes: synonyms, files, and the most frequent names."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.data.genome.names import most_frequent_labels, read_label_vocabulary
from bua.errors import InputError


def write(tmp_path, text: str):
    (tmp_path / "names.txt").write_text(text)
    return tmp_path / "names.txt"


def test_synonyms_belong_to_the_class_that_is_named_first(tmp_path) -> None:
    vocabulary = read_label_vocabulary(write(tmp_path, "dog\nTshirt, t-shirt,t shirt\ngray,grey"))
    assert vocabulary.classes == ["dog", "tshirt", "gray"]
    assert [vocabulary.id(n) for n in ("dog", "t-shirt", "t shirt", "tshirt", "grey")] == [1, 2, 2, 2, 3]
    assert vocabulary.id("cat") is None
    assert vocabulary.text == "dog\ntshirt,t-shirt,t shirt\ngray,grey\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "contains no names"),
        ("\n \n", "contains no names"),
        ("dog\n\ncat", "line 2 has an empty name, expected names separated by commas, got ''"),
        ("dog,\ncat", "line 1 has an empty name, .* got 'dog,'"),
        ("gray,grey\ndog\nGrey", "'grey' is on lines 1 and 3; a name can belong to one class only"),
    ],
)
def test_an_invalid_vocabulary_is_named(text: str, message: str, tmp_path) -> None:
    with pytest.raises(InputError, match=rf"names.txt: .*{message}"):
        read_label_vocabulary(write(tmp_path, text))


def test_a_missing_or_binary_vocabulary_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match=r"names.txt: file does not exist"):
        read_label_vocabulary(tmp_path / "names.txt")
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"names.txt: cannot be read as UTF-8"):
        read_label_vocabulary(tmp_path / "names.txt")


def test_the_released_vocabularies_are_read(shared) -> None:
    folder = shared / "data/butd_features_mini"
    objects, attributes = (
        read_label_vocabulary(folder / f"{n}_vocab.txt") for n in ("objects", "attributes")
    )
    assert (len(objects), len(attributes)) == (1600, 400)
    assert objects.classes[:3] == ["yolk", "goal", "bathroom"]
    shirt = next(n for n, line in enumerate(objects.lines, 1) if "tshirt" in line)
    assert [objects.id(name) for name in ("t shirt", "tshirt")] == [shirt, shirt]
    assert [attributes.id(name) for name in ("grey", "gray")] == [1, 1]
    assert sum(map(len, objects.lines)) == 1625
    assert sum(map(len, attributes.lines)) == 410


@given(
    counts=st.dictionaries(st.text(max_size=6), st.integers(1, 4), max_size=12).map(Counter),
    size=st.integers(1, 9),
)
def test_counted_vocabularies_survive_saving(counts, size, tmp_path_factory) -> None:
    vocabulary, skipped = most_frequent_labels(counts, size)
    assert len(vocabulary) <= size
    assert len(vocabulary) == size or len(vocabulary) + skipped == len(counts)
    if len(vocabulary):
        path = tmp_path_factory.mktemp("n") / "n.txt"
        path.write_text(vocabulary.text, encoding="utf-8")
        assert read_label_vocabulary(path).lines == vocabulary.lines


@given(counts=st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 3)).map(Counter))
def test_the_most_frequent_names_are_chosen_with_ties_in_alphabetical_order(counts) -> None:
    vocabulary, skipped = most_frequent_labels(counts, 3)
    assert vocabulary.classes == sorted(counts, key=lambda n: (-counts[n], n))[:3]
    assert skipped == 0


def test_names_that_a_file_cannot_represent_are_skipped_and_counted() -> None:
    counts = Counter({"": 9, "a, b": 8, "x\ny": 7, "n.": 6, "dog": 5, "cat": 4})
    vocabulary, skipped = most_frequent_labels(counts, 1)
    assert (vocabulary.classes, skipped) == (["dog"], 4)
