"""Mistakes in files of predictions are reported with the first occurrence and their number."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.data.predictions import check_complete, check_known, read_predictions
from bua.data.vqa.pairs import read_pairs
from bua.errors import InputError

VALID = [{"question_id": n, "answer": "yes"} for n in range(4)]
BROKEN = {
    "an object": ({"results": VALID}, 'must be a JSON list of {"question_id", "answer"}'),
    "one prediction": (
        VALID[0],
        'must be a JSON list of {"question_id", "answer"}; put brackets around the object',
    ),
    "an empty list": ([], "holds no predictions"),
    "a number in the list": ([*VALID, 7], "entry[4] is not an object (1 of 5 entries are invalid)"),
    "a missing id": (
        [*VALID, {"answer": "a"}],
        "entry[4]: has no question_id (1 of 5 entries are invalid)",
    ),
    "a boolean id": (
        [{"question_id": True, "answer": "a"}],
        "entry[0] (id True): question_id is True, expected an integer or a string",
    ),
    "an id that is a fraction": (
        [{"question_id": 1.0, "answer": "a"}],
        "entry[0] (id 1.0): question_id is 1.0, expected an integer or a string",
    ),
    "an answer that is a number": (
        [VALID[0], {"question_id": 8, "answer": 3}, {"question_id": 9, "answer": None}],
        "entry[1] (id 8): answer is 3, expected a string (2 of 3 entries are invalid)",
    ),
    "a duplicate id": ([*VALID, *VALID[2:]], "question_id 2 is duplicated (2 of 6 entries are duplicates)"),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_mistakes_are_reported_with_position_and_number(name: str, tmp_path) -> None:
    content, message = BROKEN[name]
    path = tmp_path / "p.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        read_predictions(path, "question_id", "answer")
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))


def test_nan_is_not_an_answer(tmp_path) -> None:
    (tmp_path / "p.json").write_text('[{"question_id": 1, "answer": NaN}]')
    with pytest.raises(InputError, match="answer is nan, expected a string"):
        read_predictions(tmp_path / "p.json", "question_id", "answer")


def test_json_lines_are_recognized(tmp_path) -> None:
    (tmp_path / "p.json").write_text("\n".join(map(json.dumps, VALID)))
    with pytest.raises(InputError, match=r"JSON lines, combine them into one list \(jq -s\)"):
        read_predictions(tmp_path / "p.json", "question_id", "answer")


def test_data_after_a_document_are_not_taken_for_json_lines(tmp_path) -> None:
    (tmp_path / "p.json").write_text("[] x")
    with pytest.raises(InputError, match=r"not valid JSON: Extra data at line 1 column 4$"):
        read_predictions(tmp_path / "p.json", "question_id", "answer")


def test_other_fields_are_ignored(tmp_path) -> None:
    content = [{**record, "score": 0.5, "attention": []} for record in VALID]
    (tmp_path / "p.json").write_text(json.dumps(content))
    assert read_predictions(tmp_path / "p.json", "question_id", "answer") == dict.fromkeys(range(4), "yes")


IDS = st.lists(st.integers(0, 6), unique=True)


@given(predicted=IDS, known=IDS)
def test_predictions_must_match_the_references(predicted, known) -> None:
    results = dict.fromkeys(predicted, "a")
    extra, missing = [i for i in predicted if i not in known], [i for i in known if i not in predicted]
    if extra:
        with pytest.raises(
            InputError,
            match=rf"p: image {extra[0]} is not in s \({len(extra)} of {len(predicted)} predictions have no",
        ):
            check_known(results, known, "image", "p", "s")
    else:
        check_known(results, known, "image", "p", "s")
    if missing:
        counts = f"{len(missing)} of the {len(known)} images of s have no prediction"
        with pytest.raises(InputError, match=f"p: {counts}, the first is {missing[0]}"):
            check_complete(results, known, "image", "p", "s")
    else:
        check_complete(results, known, "image", "p", "s")


def test_ids_of_the_wrong_type_are_recognized() -> None:
    with pytest.raises(InputError, match="ids are numbers there and must not be quoted"):
        check_known({"12": "a"}, [12], "question", "p", "s")
    with pytest.raises(InputError, match="ids are texts there and must be quoted"):
        check_known({12: "a"}, ["12"], "question", "p", "s")


@pytest.mark.parametrize("content", [{}, [], [[1]], [[1, 2], [1, True]], [[1.5, 2]], ["12"]])
def test_broken_pairs_are_reported(content, tmp_path) -> None:
    (tmp_path / "pairs.json").write_text(json.dumps(content))
    with pytest.raises(
        InputError,
        match=r"pairs\.json: (not a list of pairs|holds no pairs)",
    ):
        read_pairs(tmp_path / "pairs.json")


def test_pairs_keep_their_order(tmp_path) -> None:
    (tmp_path / "pairs.json").write_text("[[3, 4], [1, 2]]")
    assert read_pairs(tmp_path / "pairs.json") == [(3, 4), (1, 2)]
