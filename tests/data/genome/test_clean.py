"""The rules that clean what annotators typed, each with examples and what must hold for any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.data.genome.clean import PREFIXES, clean_text, clipped, split_attribute, split_name

WORDS = st.sampled_from([*sorted(PREFIXES), "dog", "Stop", "sign.", "and", "a", "  ", ".", ""])
TYPED = st.one_of(st.text(max_size=12), st.lists(WORDS, max_size=5).map(" ".join))


@pytest.mark.parametrize(
    ("typed", "cleaned"),
    [
        ("Dog", "dog"),
        (" dog. ", "dog"),
        ("dog .", "dog"),
        ("dog..", "dog."),
        (".", ""),
        ("", ""),
        ("U.S. flag", "u.s. flag"),
        ("fire  truck", "fire  truck"),
    ],
)
def test_text_is_lowered_stripped_and_loses_one_full_stop(typed: str, cleaned: str) -> None:
    assert clean_text(typed) == cleaned


@given(typed=TYPED)
def test_a_cleaned_text_is_lower_case_without_space_around(typed: str) -> None:
    cleaned = clean_text(typed)
    assert cleaned == cleaned.strip() == cleaned.lower().strip()
    assert clean_text(f"  {typed.upper()}\t") == clean_text(typed.upper())
    assert typed.lower().strip().removeprefix(cleaned).strip() in ("", ".")


@pytest.mark.parametrize(
    ("typed", "name", "before"),
    [
        ("small white dog", "dog", ("small", "white")),
        ("Wooden Table.", "table", ("wooden",)),
        ("dog", "dog", ()),
        ("white", "white", ()),
        ("white grey", "grey", ("white",)),
        ("stop sign", "stop sign", ()),
        ("white stop sign", "white stop sign", ()),
        ("black and white dog", "black and white dog", ()),
        ("my white dog", "my white dog", ()),
        ("", "", ()),
    ],
)
def test_attributes_in_front_of_a_name_are_split_off(typed: str, name: str, before: tuple[str, ...]) -> None:
    assert split_name(typed) == (name, before)


def test_nineteen_words_are_attributes_in_front_of_a_name() -> None:
    assert len(PREFIXES) == 19


@given(typed=TYPED)
def test_no_word_of_a_name_is_lost(typed: str) -> None:
    name, before = split_name(typed)
    assert [*before, *name.split()] == clean_text(typed).split()
    assert PREFIXES.issuperset(before)
    assert not before or len(name.split()) == 1


@pytest.mark.parametrize(
    ("typed", "attributes"),
    [
        ("Red", ("red",)),
        ("red and tall", ("red", "tall")),
        ("red and tall and old.", ("red", "tall", "old")),
        ("black and white", ("black and white",)),
        (" Black and White. ", ("black and white",)),
        ("black and white and red", ("black", "white", "red")),
        ("sandy", ("sandy",)),
        ("red and  and tall", ("red", "", "tall")),
    ],
)
def test_attributes_are_split_at_and_except_black_and_white(typed: str, attributes: tuple[str, ...]) -> None:
    assert split_attribute(typed) == attributes


@given(typed=TYPED)
def test_no_word_of_an_attribute_is_lost_but_and(typed: str) -> None:
    parts = split_attribute(typed)
    assert " and ".join(parts).split() == clean_text(typed).split()
    assert all(" and " not in part for part in parts) or parts == ("black and white",)


SIDE = st.integers(-30, 30)


@given(x=SIDE, y=SIDE, w=SIDE, h=SIDE, width=st.integers(1, 20), height=st.integers(1, 20))
def test_a_clipped_box_holds_the_pixels_of_the_box_that_are_in_the_image(x, y, w, h, width, height) -> None:
    left, top, wide, high = clipped(x, y, w, h, width=width, height=height)
    pixels = {(a, b) for a in range(x, x + w) for b in range(y, y + h)}
    image = {(a, b) for a in range(width) for b in range(height)}
    assert {(a, b) for a in range(left, left + wide) for b in range(top, top + high)} == pixels & image
    assert wide >= 0
    assert high >= 0
    assert left + wide <= width
    assert top + high <= height


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((2, 3, 4, 5), (2, 3, 4, 5)),
        ((-2, -3, 4, 5), (0, 0, 2, 2)),
        ((8, 8, 9, 9), (8, 8, 2, 2)),
        ((-900, 2, 50, 3), (0, 2, 0, 3)),
        ((4, 4, 0, 3), (4, 4, 0, 3)),
        ((4, 4, -3, 3), (4, 4, 0, 3)),
    ],
)
def test_boxes_are_clipped(box, expected) -> None:
    assert clipped(*box, width=10, height=10) == expected
