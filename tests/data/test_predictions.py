"""Files of predictions: what is wrong in one is told with the first place and how often."""

import json

import pytest
from bua.data.vqa.pairs import read_pairs
from hypothesis import given
from hypothesis import strategies as st

from bua.data.predictions import check_complete, check_known, read_predictions
from bua.errors import InputError

SOUND = [{"question_id": n, "answer": "yes"} for n in range(4)]
BROKEN = {
    "an object": ({"results": SOUND}, 'a JSON list of {"question_id", "answer"} is needed'),
    "one prediction": (SOUND[0], 'a JSON list of {"question_id", "answer"} is needed around it'),
    "nothing": ([], "holds no predictions"),
    "a number in the list": ([*SOUND, 7], "entry 4 is not an object"),
    "no id": (
        [*SOUND, {"answer": "a"}],
        '"question_id" is missing, a whole number or a text is needed (1 of 5',
    ),
    "a truth value as id": ([{"question_id": True, "answer": "a"}], '"question_id" is True'),
    "a fraction as id": ([{"question_id": 1.0, "answer": "a"}], '"question_id" is 1.0'),
    "a number as answer": (
        [SOUND[0], {"question_id": 8, "answer": 3}, {"question_id": 9, "answer": None}],
        'entry 1 is not an object with "question_id" and a text "answer": "answer" is 3, a text is needed '
        "(2 of 3 entries are wrong)",
    ),
    "an id twice": ([*SOUND, *SOUND[2:]], "question_id 2 is duplicated (2 of 6 entries are too many)"),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_what_is_broken_is_told_with_place_and_number(name: str, tmp_path) -> None:
    content, message = BROKEN[name]
    path = tmp_path / "p.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        read_predictions(path, "question_id", "answer")
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))


def test_an_answer_that_is_no_number_is_not_an_answer(tmp_path) -> None:
    (tmp_path / "p.json").write_text('[{"question_id": 1, "answer": NaN}]')
    with pytest.raises(InputError, match='"answer" is nan, a text is needed'):
        read_predictions(tmp_path / "p.json", "question_id", "answer")


def test_json_lines_are_named_and_it_is_said_what_to_do(tmp_path) -> None:
    (tmp_path / "p.json").write_text("\n".join(map(json.dumps, SOUND)))
    with pytest.raises(InputError, match="JSON lines: make one list of them, as with jq -s"):
        read_predictions(tmp_path / "p.json", "question_id", "answer")


def test_rubbish_behind_a_document_is_not_called_json_lines(tmp_path) -> None:
    (tmp_path / "p.json").write_text("[] x")
    with pytest.raises(InputError, match=r"not valid JSON: Extra data at line 1 column 4$"):
        read_predictions(tmp_path / "p.json", "question_id", "answer")


def test_other_fields_are_not_looked_at(tmp_path) -> None:
    content = [{**record, "score": 0.5, "attention": []} for record in SOUND]
    (tmp_path / "p.json").write_text(json.dumps(content))
    assert read_predictions(tmp_path / "p.json", "question_id", "answer") == dict.fromkeys(range(4), "yes")


IDS = st.lists(st.integers(0, 6), unique=True)


@given(predicted=IDS, known=IDS)
def test_predictions_are_accepted_only_if_they_are_about_exactly_what_is_known(predicted, known) -> None:
    results = dict.fromkeys(predicted, "a")
    extra, missing = [i for i in predicted if i not in known], [i for i in known if i not in predicted]
    if extra:
        with pytest.raises(InputError, match=rf"p: image {extra[0]} is not in s \({len(extra)} of the"):
            check_known(results, known, "image", "p", "s")
    else:
        check_known(results, known, "image", "p", "s")
    if missing:
        with pytest.raises(InputError, match=f"p: {len(missing)} of the {len(known)} images of s were not"):
            check_complete(results, known, "image", "p", "s")
    else:
        check_complete(results, known, "image", "p", "s")


def test_ids_written_as_texts_or_as_numbers_by_mistake_are_told_so() -> None:
    with pytest.raises(InputError, match="ids are numbers there and must stand without quotes"):
        check_known({"12": "a"}, [12], "question", "p", "s")
    with pytest.raises(InputError, match="ids are texts there and must stand in quotes"):
        check_known({12: "a"}, ["12"], "question", "p", "s")


@pytest.mark.parametrize("content", [{}, [], [[1]], [[1, 2], [1, True]], [[1.5, 2]], ["12"]])
def test_broken_pairs_are_named(content, tmp_path) -> None:
    (tmp_path / "pairs.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"pairs\.json: (a JSON list of pairs|pair \d is)"):
        read_pairs(tmp_path / "pairs.json")


def test_pairs_are_read_in_their_order(tmp_path) -> None:
    (tmp_path / "pairs.json").write_text("[[3, 4], [1, 2]]")
    assert read_pairs(tmp_path / "pairs.json") == [(3, 4), (1, 2)]
