"""Cleaning of typed names and attributes: examples, and properties of any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.data.genome.clean import PREFIXES, clean_text, clip_box, split_attribute, split_name

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
def test_text_is_lowercased_stripped_and_loses_one_period(typed: str, cleaned: str) -> None:
    assert clean_text(typed) == cleaned


@given(typed=TYPED)
def test_a_cleaned_text_is_lowercase_without_surrounding_whitespace(typed: str) -> None:
    cleaned = clean_text(typed)
    assert cleaned == cleaned.strip() == cleaned.lower().strip()
    assert clean_text(f"  {typed.upper()}\t") == clean_text(typed.upper())
    assert typed.lower().strip().removeprefix(cleaned).strip() in ("", ".")


@pytest.mark.parametrize(
    ("typed", "name", "leading"),
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
def test_leading_attributes_are_split_off(typed: str, name: str, leading: tuple[str, ...]) -> None:
    assert split_name(typed) == (name, leading)


def test_nineteen_words_are_leading_attributes() -> None:
    assert len(PREFIXES) == 19


@given(typed=TYPED)
def test_no_word_of_a_name_is_lost(typed: str) -> None:
    name, leading = split_name(typed)
    assert [*leading, *name.split()] == clean_text(typed).split()
    assert PREFIXES.issuperset(leading)
    assert not leading or len(name.split()) == 1


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
def test_no_word_of_an_attribute_but_and_is_lost(typed: str) -> None:
    parts = split_attribute(typed)
    assert " and ".join(parts).split() == clean_text(typed).split()
    assert all(" and " not in part for part in parts) or parts == ("black and white",)


SIDE = st.integers(-30, 30)


@given(x=SIDE, y=SIDE, w=SIDE, h=SIDE, width=st.integers(1, 20), height=st.integers(1, 20))
def test_a_clipped_box_contains_the_pixels_of_the_box_inside_of_the_image(x, y, w, h, width, height) -> None:
    left, top, clipped_w, clipped_h = clip_box(x, y, w, h, width=width, height=height)
    pixels = {(a, b) for a in range(x, x + w) for b in range(y, y + h)}
    image = {(a, b) for a in range(width) for b in range(height)}
    assert {
        (a, b) for a in range(left, left + clipped_w) for b in range(top, top + clipped_h)
    } == pixels & image
    assert clipped_w >= 0
    assert clipped_h >= 0
    assert left + clipped_w <= width
    assert top + clipped_h <= height


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
    assert clip_box(*box, width=10, height=10) == expected
