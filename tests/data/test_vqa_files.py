"""Formats of questions are recognized by their keys, and every mistake and omission is reported."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.data.vqa.files import AnnotationList, read_question_file
from bua.data.vqa.files.read import describe_questions, read_annotations, read_questions
from bua.data.vqa.files.visual_genome import read_visual_genome
from bua.data.vqa.pairs import pair_indices
from bua.errors import InputError
from bua.io.json_stream import members
from bua.structures.annotations import VQAAnnotation
from bua.text.answers import AnswerVocabulary
from tests.helpers.data import write_json
from tests.helpers.question_files import (
    GENOME_IMAGES,
    GQA,
    OK_VQA_ANSWERS,
    TEXT_ID_VQA,
    TEXT_ID_VQA_ANSWERS,
    TEXTVQA,
    VIZWIZ,
    VQA,
    VQA_ANSWERS,
    genome_question,
)
from tests.helpers.strategies import JSON

FORMATS = {
    "VQA v2": (VQA, VQA_ANSWERS, 7, 1, "other"),
    "VQA v2, text ids": (TEXT_ID_VQA, TEXT_ID_VQA_ANSWERS, "VizWiz_val_1", 1, "other"),
    "OK-VQA": (VQA, OK_VQA_ANSWERS, 7, 1, "other"),
    "TextVQA": (TEXTVQA, None, 3, "0054c91397f2fe05", "unknown"),
    "VizWiz": (VIZWIZ, None, "VizWiz_train_00000000.jpg", "VizWiz_train_00000000.jpg", "other"),
    "GQA": (GQA, None, "02930152", "2354786", "verify"),
}


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_formats_are_recognized_by_their_keys(name: str, tmp_path) -> None:
    questions, answers, question_id, image_id, answer_type = FORMATS[name]
    path = write_json(tmp_path, questions, "q.json")
    file = read_question_file(path, answers and write_json(tmp_path, answers, "a.json"))
    assert (file.ids, file.image_ids) == ([question_id], [image_id])
    assert file.format == name.replace("OK-VQA", "VQA v2").removesuffix(", text ids")
    assert len(file.annotations or ()) == 1
    annotation = file.annotations[0]
    assert annotation.answer_type == answer_type
    assert annotation.most_frequent == ("yes" if name == "GQA" else "cat")
    assert annotation.answers == (("yes",) if name == "GQA" else ("cat",) * 7 + ("dog",) * 3)
    read = read_annotations(tmp_path / ("a.json" if answers else "q.json"))
    assert file.annotations[:] == list(read.values())
    assert [q.text for q in read_questions(path)] == file.texts


def test_formats_of_five_sets_are_read() -> None:
    assert len(FORMATS) == 6


def test_contents_of_a_file_are_described(tmp_path) -> None:
    annotations = VQA_ANSWERS["annotations"] + [{"question_id": 8, "answers": ["a"]}]
    file = read_question_file(
        write_json(tmp_path, VQA, "q.json"), write_json(tmp_path, {"annotations": annotations}, "a.json")
    )
    assert describe_questions(file) == (
        f"{tmp_path}/q.json: VQA v2, 1 questions on 1 images, 10 answers, 0 questions without answer type, "
        "0 with a single answer, 1 annotations of other questions"
    )
    assert "1 questions without answer type" in describe_questions(
        read_question_file(write_json(tmp_path, TEXTVQA, "t.json"))
    )


def test_test_splits_have_no_annotations(tmp_path) -> None:
    split = [{"image": "VizWiz_test_0.jpg", "question": "what?"}]
    file = read_question_file(write_json(tmp_path, split, "q.json"))
    assert (file.ids, file.annotations) == (["VizWiz_test_0.jpg"], None)
    assert read_question_file(write_json(tmp_path, VQA, "v.json")).annotations is None


BROKEN = {
    "json lines": ('{"question_id": 1}\n{"question_id": 2}', "looks like JSON lines"),
    "a number": ("3", "expected a list or an object"),
    "other content": ({"images": [], "categories": []}, "holds neither questions nor annotations"),
    "no questions": ({"questions": []}, "holds neither questions nor annotations"),
    "annotations": (VQA_ANSWERS, "holds no questions"),
    "captions": (
        {"images": [], "annotations": [{"id": 4}]},
        r"annotations\[0\] \(id 4\): has no question_id",
    ),
    "a duplicate question": ({"questions": VQA["questions"] * 2}, "question 7 is duplicated"),
    "an empty question": ([{"image": "a.jpg", "question": " "}], "question a.jpg is empty"),
    "an entry that is a text": (["a"], r"entry\[0\] is not an object"),
    "a boolean id": (
        {"data": [{"question_id": True}]},
        r"data\[0\].*question_id is True, expected an integer or a string",
    ),
    "a missing image": ({"1": {"question": "what?"}}, "1: has no imageId"),
    "answers that are numbers": (
        {"data": [TEXTVQA["data"][0] | {"answers": [3]}]},
        "question 3: answers must",
    ),
    "answers that are not a list": ([VIZWIZ[0] | {"answers": ""}], "question VizWiz_.*: answers must"),
    "a missing annotation": (
        [VIZWIZ[0], {"image": "b.jpg", "question": "what?"}],
        "1 of the 2 questions of .* have no annotation, the first is b.jpg",
    ),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_broken_files_are_reported_with_their_mistake(name: str, tmp_path) -> None:
    content, message = BROKEN[name]
    with pytest.raises(InputError, match=f"q.json: .*{message}"):
        read_question_file(write_json(tmp_path, content, "q.json"))


def test_broken_files_are_collected() -> None:
    assert len(BROKEN) == 14


def test_all_mistakes_are_reported_to_a_callback(tmp_path) -> None:
    good = VQA["questions"][0]
    content = {"questions": [good, good, good | {"question_id": 8, "question": ""}, {"question_id": 9}]}
    lines: list[str] = []
    assert read_question_file(write_json(tmp_path, content, "q.json"), report=lines.append).ids == [7]
    assert [line.partition(": ")[2] for line in lines] == [
        "question 7 is duplicated",
        "question 8 is empty",
        "questions[3] (id 9): has no question",
    ]


def test_duplicate_keys_are_reported(tmp_path) -> None:
    text = json.dumps(GQA)
    path = write_json(tmp_path, f"{text[:-1]}, {text[1:]}", "q.json")
    with pytest.raises(InputError, match="question 02930152 is duplicated"):
        read_question_file(path)


@given(
    content=st.dictionaries(st.text(max_size=4), JSON, max_size=4) | st.lists(JSON, max_size=4),
    chunk=st.integers(1, 40),
    indent=st.sampled_from([None, 2]),
)
def test_members_do_not_depend_on_the_chunk_size(content, chunk, indent, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("s") / "m.json"
    path.write_text(json.dumps(content, indent=indent))
    listed = {None: content} if isinstance(content, list) else content
    expected = [(k, e) for k, v in listed.items() for e in (v if isinstance(v, list) else [v])]
    assert list(members(path, chunk)) == expected


@given(cut=st.integers(1, 60), chunk=st.integers(1, 20))
def test_truncated_objects_are_always_rejected(cut, chunk, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("s") / "m.json"
    path.write_text(json.dumps(VQA)[:-cut])
    with pytest.raises(InputError, match=r"m.json: not valid JSON: .* at character \d+"):
        list(members(path, chunk))


INVALID_OBJECTS = {
    "no quotes": ("{a: 1}", "expected a name in quotes"),
    "no colon": ('{"a" 1}', "expected a colon"),
    "no comma": ('{"a": 1 "b": 2}', "expected a comma or the end of the object"),
    "a trailing comma": ('{"a": 1,}', "expected a name in quotes"),
    "data after the end": ('{"a": 1} 5', "unexpected data after the end of the object"),
    "a long number": ('{"a": ' + "1" * 5000 + "}", "digits"),
}


@pytest.mark.parametrize("name", sorted(INVALID_OBJECTS))
def test_invalid_objects_are_reported_with_their_position(name: str, tmp_path) -> None:
    text, message = INVALID_OBJECTS[name]
    with pytest.raises(InputError, match=f"m.json: not valid JSON: .*{message}"):
        list(members(Path(write_json(tmp_path, text, "m.json")), 3))


def test_invalid_objects_are_collected() -> None:
    assert len(INVALID_OBJECTS) == 6


ANNOTATIONS = st.builds(
    lambda answers, types, most: VQAAnnotation(tuple(answers), *types, most),
    st.lists(st.text(max_size=3), min_size=1, max_size=10),
    st.tuples(st.text(max_size=3), st.text(max_size=3)),
    st.text(max_size=3),
)


@given(annotations=st.lists(ANNOTATIONS, max_size=9), data=st.data())
def test_annotation_list_equals_a_list(annotations, data) -> None:
    compact = AnnotationList()
    for annotation in annotations:
        compact.append(annotation)
    assert list(compact) == annotations
    assert compact[1:-1] == annotations[1:-1]
    assert compact.num_answers == sum(len(annotation.answers) for annotation in annotations)
    order = data.draw(st.permutations(range(len(annotations))))
    assert list(compact.select(order)) == [annotations[n] for n in order]


def test_annotations_in_another_order_match_their_questions(tmp_path) -> None:
    questions = [VQA["questions"][0] | {"question_id": n} for n in range(9)]
    annotations = [{"question_id": n, "answers": [str(n)]} for n in (3, 1, 8, 0, 2, 7, 6, 5, 4)]
    paths = (
        write_json(tmp_path, {"questions": questions}, "q.json"),
        write_json(tmp_path, {"annotations": annotations}, "a.json"),
    )
    annotations = read_question_file(*paths).annotations
    assert [annotation.answers for annotation in annotations] == [(str(n),) for n in range(9)]


def genome_files(tmp_path, qas) -> tuple[str, str]:
    content = [{"id": qa["image_id"], "qas": [qa]} for qa in qas]
    return write_json(tmp_path, content, "question_answers.json"), write_json(
        tmp_path, GENOME_IMAGES, "image_data.json"
    )


ANSWERS = AnswerVocabulary(["clock", "2"], ["clock", "2"])


def test_visual_genome_questions_need_a_training_image_and_a_known_answer(tmp_path) -> None:
    questions = [
        genome_question(11, 1, "A clock."),
        genome_question(12, 1, "Two."),
        genome_question(13, 1, "A hat."),
        genome_question(14, 2, "A clock."),
    ]
    questions += [genome_question(15, 3, "A clock."), genome_question(16, 1, "A clock.", " ")]
    paths = genome_files(tmp_path, questions)
    file, counts = read_visual_genome(*paths, {100, 200}, ANSWERS)
    assert (file.ids, file.image_ids) == ([-11, -12], [100, 100])
    assert [
        ANSWERS.soft_scores(a.answers, rule) for a in file.annotations for rule in ("official", "third")
    ] == [
        {0: 1.0},
        {0: 1.0},
        {1: 1.0},
        {1: 1.0},
    ]
    assert counts == (
        f"{paths[0]}: 2 questions are used for training, others are not: 1 with an unknown answer, "
        "1 about images outside COCO, 1 about images outside the training data, 1 without words"
    )


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ([genome_question(1, 9, "clock")], "question 1 is about image 9, which is not in .*image_data.json"),
        ([genome_question(1, 1, "clock"), genome_question(1, 1, "clock")], "question 1 is duplicated"),
        ([genome_question(1, 1, 5)], r"entry 0: qas\[0\].*answer is 5, expected a string"),
        ([genome_question(1, 3, "clock")], "no question is usable: 1 about images outside the training data"),
    ],
)
def test_broken_visual_genome_questions_are_reported(questions, message, tmp_path) -> None:
    with pytest.raises(InputError, match=f"question_answers.json: {message}"):
        read_visual_genome(*genome_files(tmp_path, questions), {100}, ANSWERS)


def test_pairs_are_of_training_questions_and_disjoint(tmp_path) -> None:
    path = write_json(tmp_path, [[10, 30], [20, 99], [30, 40], [40, 20], [50, 50]], "p.json")
    pairs, counts = pair_indices(path, [10, 20, 30, 40, 50])
    assert pairs.tolist() == [[0, 2], [3, 1]]
    assert counts.endswith(
        "2 pairs stay together; 1 questions are in none; 1 pairs with a question outside the training data "
        "and 2 with a question that is already paired are ignored"
    )


def test_questions_in_no_pair_are_counted(tmp_path) -> None:
    _, counts = pair_indices(write_json(tmp_path, [[10, 30]], "p.json"), [10, 20, 30, 40, 50])
    assert ": 1 pairs stay together; 3 questions are in none; 0 pairs with a question outside" in counts


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([[1]], r"\[0\] is \[1\], expected a list of length 2"),
        ([[1, None]], r"\[0\]\[1\] is None, expected an integer or a string"),
        ([[8, 9]], "none of its 1 pairs has both questions in the training data"),
    ],
)
def test_broken_pairs_are_reported(content, message, tmp_path) -> None:
    with pytest.raises(InputError, match=f"p.json: .*{message}"):
        pair_indices(write_json(tmp_path, content, "p.json"), [1, 2])


@pytest.mark.parametrize(
    "content",
    [
        {"data": [{k: v for k, v in TEXTVQA["data"][0].items() if k != "answers"} | {"answers": []}]},
        [VIZWIZ[0] | {"answers": []}],
        {"1": {"imageId": "2", "question": "what?", "answer": ""}},
    ],
    ids=["TextVQA", "VizWiz", "GQA"],
)
def test_questions_with_empty_answers_are_those_of_a_test_split(content, tmp_path) -> None:
    path = tmp_path / "test.json"
    path.write_text(json.dumps(content))
    assert len(read_questions(path)) == 1
    with pytest.raises(InputError, match="test.json: holds no answers"):
        read_annotations(path)


def test_unbalanced_gqa_questions_are_left_out_only_with_answers(tmp_path) -> None:
    one = GQA["02930152"]
    unmarked = {key: value for key, value in one.items() if key != "isBalanced"}
    content = GQA | {"b": one | {"isBalanced": False}, "c": unmarked}
    path = write_json(tmp_path, content, "q.json")
    file = read_question_file(path)
    assert (file.ids, file.num_unbalanced) == (["02930152", "c"], 1)
    assert "1 that are not balanced are left out" in describe_questions(file)
    assert "0 that are not balanced are left out" in describe_questions(
        read_question_file(write_json(tmp_path, GQA, "b.json"))
    )
    assert [q.question_id for q in read_questions(path)] == ["02930152", "b", "c"]
    with pytest.raises(InputError, match="n.json: holds no balanced questions"):
        read_question_file(write_json(tmp_path, {"b": one | {"isBalanced": False}}, "n.json"))
    unanswered = {key: value for key, value in one.items() if key != "answer"} | {"isBalanced": False}
    assert read_question_file(write_json(tmp_path, {"b": unanswered}, "t.json")).ids == ["b"]
