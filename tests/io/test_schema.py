"""Values from files are checked against schemas, and mistakes are named with their place and value."""

import json
import math
from typing import Any, NotRequired, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.errors import InputError
from bua.io.coco import coco_categories, coco_images, resolver
from bua.io.schema import Box, Id, Pixels, find_mismatch, records, valid_records, validate


class Record(TypedDict):
    id: Id
    box: Box
    width: NotRequired[Pixels | None]


VALID = {"id": 1, "box": [1, 2.5, 3, 4], "other": "anything"}
MISTAKES = [
    ({"id": None}, "id is None, expected an integer or a string"),
    ({"id": True}, "id is True, expected an integer or a string"),
    ({"id": 2**63}, "id is 9223372036854775808, expected an integer <= 9223372036854775807"),
    ({"box": [1, 2, 3]}, "box is [1, 2, 3], expected a list of length 4"),
    ({"box": [1, 2, 3, "4"]}, "box[3] is '4', expected a number"),
    ({"box": [1, 2, 3, math.nan]}, "box[3] is nan, expected a number > -2147483648.0"),
    ({"box": {"x": 1}}, "box is {'x': 1}, expected a list"),
    ({"width": 0}, "width is 0, expected an integer >= 1"),
    ({"width": 2.0}, "width is 2.0, expected an integer or null"),
]


@pytest.mark.parametrize(("change", "mistake"), MISTAKES)
def test_a_mistake_is_named_with_its_place_and_value(change, mistake) -> None:
    assert find_mismatch(VALID | change, Record) == mistake


@pytest.mark.parametrize("change", [{}, {"id": "a"}, {"width": None}, {"width": 3}, {"box": [-1, 0, 0, 1e9]}])
def test_other_fields_and_optional_ones_are_free(change) -> None:
    assert find_mismatch(VALID | change, Record) is None


def test_a_missing_field_is_named() -> None:
    assert find_mismatch({"id": 1}, Record) == "has no box"
    assert find_mismatch([{"id": 1}], list[Record]) == "[0] has no box"


def test_a_value_in_a_mapping_is_described() -> None:
    assert find_mismatch({"a": {"b": 1}}, dict[str, dict[str, str]]) is not None
    with pytest.raises(InputError, match="^f.json: words: one of its values: expected `str`, got `int`$"):
        validate({"b": 1}, dict[str, str], "f.json", "words")


def test_records_are_checked_and_named() -> None:
    assert records({"images": [VALID]}, "a.json", "images", Record) == [VALID]
    with pytest.raises(InputError, match='^a.json: must be a JSON object with a list "objects"$'):
        records({"images": []}, "a.json", "objects", Record)
    with pytest.raises(InputError, match=r"^a.json: images\[0\] \(id 7\): has no box$"):
        records({"images": [{"id": 7}]}, "a.json", "images", Record)


def test_invalid_records_are_left_out_and_reported() -> None:
    mistakes: list[str] = []
    assert valid_records([VALID, 3, VALID | {"id": []}], "images", Record, mistakes.append) == [VALID]
    assert mistakes == [
        "images[1] is not an object",
        "images[2] (id []): id is [], expected an integer or a string",
    ]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_any_value_of_json_is_accepted_or_described_in_one_line(value: Any) -> None:
    for schema in (Record, list[Record], dict[str, list[Id]], dict[str, dict[str, Box]]):
        mistake = find_mismatch(value, schema)
        assert mistake is None or "\n" not in mistake


def test_a_file_name_is_taken_from_a_url_where_it_is_missing() -> None:
    images = [
        {"id": 1, "file_name": "a.jpg", "coco_url": "http://x/b.jpg"},
        {"id": 2, "coco_url": "http://images/val2017/000000000139.jpg?size=1"},
        {"id": 3, "file_name": None, "width": None},
    ]
    assert [image["file_name"] for image in coco_images({"images": images}, "f")] == [
        "a.jpg",
        "000000000139.jpg",
        "",
    ]
    with pytest.raises(InputError, match="^f: image 3 has no file_name$"):
        coco_images({"images": images}, "f", named=True)


def test_categories_that_are_repeated_as_they_are_count_once() -> None:
    entries = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 1, "name": "cat"}]
    assert coco_categories({"categories": entries}, "f") == {1: "cat", 2: "dog"}
    with pytest.raises(InputError, match="^f: categories: id 2 has two names, 'dog' and 'cow'$"):
        coco_categories({"categories": [*entries, {"id": 2, "name": "cow"}]}, "f")


def test_ids_resolve_to_those_of_the_file_in_number_or_text() -> None:
    to_id = resolver([1, 2, "a"])
    assert json.dumps([to_id(given) for given in (1, "1", "a", "3", 7)]) == '[1, 1, "a", "3", 7]'
    assert resolver(["1"])(1) == "1"
