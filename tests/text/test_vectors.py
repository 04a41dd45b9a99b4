"""Word vectors: reading the requested ones, error messages of invalid lines, and means over words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.errors import InputError
from bua.text.vectors import mean_vectors, read_vectors

FILE = """the 0.1 0.2 -0.3
. . . 1 2 3
at name@example.com 4 5 6
cat 1 2 3
cat 7 8 9
's 0 0 1e-3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text(FILE)
    return path


def test_requested_words_are_found_and_the_first_of_two_vectors_is_kept(file) -> None:
    vectors = read_vectors(file, {"cat", "'s", "zebra"}, 3)
    assert {word: vector.tolist() for word, vector in vectors.items()} == {
        "cat": [1, 2, 3],
        "'s": pytest.approx([0, 0, 1e-3]),
    }


def test_tokens_with_spaces_are_skipped(file) -> None:
    assert set(read_vectors(file, {".", "at", ". .", "the"}, 3)) == {"the"}


def test_the_header_of_fasttext_is_skipped(file) -> None:
    file.write_text("6 3\n" + FILE)
    assert set(read_vectors(file, {"6", "cat"}, 3)) == {"cat"}


@pytest.mark.parametrize("separator", ["\t", "  ", " \t"])
def test_columns_may_be_separated_by_tabs_or_spaces(file, separator: str) -> None:
    file.write_text("\n".join(separator.join(["cat", "1", "2", "3"]) for _ in range(2)))
    assert read_vectors(file, {"cat"}, 3)["cat"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("header", ["", "6 3\n"])
def test_a_byte_order_mark_costs_no_word(file, header: str) -> None:
    file.write_text(header + FILE, encoding="utf-8-sig")
    assert set(read_vectors(file, {"the", "cat"}, 3)) == {"the", "cat"}


@pytest.mark.parametrize("line", ["dog," + "0.12345," * 300, "x" * 5000 + " 1 2 y", "x" * 5000 + " 1 2 inf"])
def test_a_long_line_that_is_wrong_is_shown_shortened(file, line: str) -> None:
    file.write_text(FILE + line + "\n")
    with pytest.raises(InputError) as error:
        read_vectors(file, {line.split(" ")[0]}, 3)
    assert len(str(error.value)) < len(str(file)) + 150


@pytest.mark.parametrize("size", [2, 4, 300])
def test_another_dimension_is_named_with_file_and_line(file, size: int) -> None:
    with pytest.raises(InputError, match=rf"vectors.txt:1: 'the' has 3 numbers, expected {size}"):
        read_vectors(file, {"cat"}, size)


@pytest.mark.parametrize("line", ["dog 1 2", "dog", "dog 1 2 3 4", ""])
def test_a_line_of_another_dimension_is_named_even_if_its_word_is_not_requested(file, line: str) -> None:
    file.write_text(FILE + line + "\n")
    with pytest.raises(InputError, match=r"vectors.txt:7: .* numbers, expected 3"):
        read_vectors(file, {"cat"}, 3)


@pytest.mark.parametrize(
    ("line", "message"), [("dog 1 2 x", "is not followed by 3 numbers"), ("dog 1 2 nan", "is not finite")]
)
def test_a_vector_that_is_not_numeric_is_named(file, line: str, message: str) -> None:
    file.write_text(FILE + line + "\n")
    with pytest.raises(InputError, match=f"vectors.txt:7: .*{message}"):
        read_vectors(file, {"dog"}, 3)


def test_a_file_that_cannot_be_read_is_named(tmp_path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("binary", "missing"):
        with pytest.raises(InputError, match=f"{name}: word vectors cannot be read"):
            read_vectors(tmp_path / name, {"cat"}, 3)


@settings(max_examples=30, deadline=None)
@given(
    words=st.lists(st.text("abcé'", min_size=1, max_size=4), min_size=1, max_size=9, unique=True),
    size=st.integers(1, 5),
)
def test_written_vectors_are_read(words: list[str], size: int, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("v") / "v.txt"
    rows = np.random.default_rng(0).standard_normal((len(words), size)).astype(np.float32)
    lines = [" ".join([word, *map(repr, row.tolist())]) for word, row in zip(words, rows, strict=True)]
    path.write_text("\n".join(lines), encoding="utf-8")
    vectors = read_vectors(path, words, size)
    assert list(vectors) == words
    np.testing.assert_array_equal(np.stack(list(vectors.values())), rows)


def test_the_mean_is_over_the_words_that_have_a_vector() -> None:
    vectors = {"red": np.array([1, 3], np.float32), "cat": np.array([3, 5], np.float32)}
    rows, known = mean_vectors([["red", "cat", "zebra"], ["zebra"], []], vectors, 2)
    assert known.tolist() == [True, False, False]
    assert rows.tolist() == [[2, 4], [0, 0], [0, 0]]
