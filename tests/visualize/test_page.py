"""Attention pages escape all text, load nothing from elsewhere, and show the attention weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.store import Regions
from bua.visualize.page import (
    AttendedText,
    Panel,
    Row,
    inline,
    region_names,
    render_page,
    render_panel,
    table,
)
from tests.helpers.pages import PageParser

REGIONS = Regions(
    np.zeros((3, 2)),
    np.array([[0, 0, 5, 5], [1, 2, 3, 4], [2, 2, 9, 9]], np.float32),
    (10, 20),
    class_id=np.array([0, 1, 1], np.int32),
    attribute_id=np.array([1, 0, 0], np.int32),
)
PHOTO = np.zeros((10, 20, 3), np.uint8)


def rendered(text: str, weights: list[float]) -> str:
    row = Row("caption", [AttendedText(text, np.array(weights))], text)
    return render_page(text, render_panel(Panel(text, PHOTO, REGIONS, [text] * 3, [row])))


@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30))
def test_any_text_is_displayed_and_never_executed(text: str) -> None:
    parser = PageParser()
    parser.feed(rendered(f"<script>x</script>{text}", [1, 0, 0]))
    assert f"<script>x</script>{text}" in parser.text
    assert parser.external == []


def test_words_carry_all_but_the_smallest_weights() -> None:
    parser = PageParser()
    parser.feed(rendered("cat", [0.01, 0.69, 0.3]))
    assert parser.words == [{"1": 0.69, "2": 0.3}]


@pytest.mark.parametrize(("weights", "diffuse"), [([0.9, 0.05, 0.05], False), ([0.1, 0.15, 0.12], True)])
def test_a_word_without_a_clear_region_is_marked_as_diffuse(weights, diffuse) -> None:
    assert ('data-diffuse="1"' in rendered("cat", weights)) == diffuse


def test_boxes_are_in_pixels_of_the_image() -> None:
    page = rendered("cat", [1, 0, 0])
    assert 'viewBox="0 0 20 10"' in page
    assert 'x="1.0" y="2.0" width="2.0" height="2.0"' in page


def test_regions_are_named_by_attribute_and_class() -> None:
    assert region_names(REGIONS, ["cat", "dog"], ["red", "old"]) == ["old cat", "red dog", "red dog"]
    assert region_names(REGIONS, [], []) == ["region 1", "region 2", "region 3"]


def test_large_images_are_reduced() -> None:
    assert len(inline(np.zeros((3000, 2000, 3), np.uint8))) < 40_000


def test_tables_escape_cells_and_highlight_the_best_cells() -> None:
    page = table(["a<b", "c"], [["1", "5"], ["2 & 3", "4"]], best={(1, 0)})
    assert "a&lt;b" in page
    assert '<tr><td class="best">2 &amp; 3</td><td>4</td></tr>' in page
