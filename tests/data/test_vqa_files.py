"""Every format of questions is told by its keys; what is wrong in a file is named; nothing goes silently."""

import json
from pathlib import Path

import pytest
from bua.data.vqa.files.visual_genome import read_visual_genome
from bua.data.vqa.pairs import pair_indices
from bua.data.vqa.files.read import read_annotations, read_questions
from hypothesis import given
from hypothesis import strategies as st

from bua.data.vqa.files import AnnotationList, read_question_file
from bua.errors import InputError
from bua.io.json_stream import members
from bua.structures.annotations import VQAAnnotation
from bua.text.answers import AnswerVocabulary
from tests.data.genome.test_source import JSON

TEN = [{"answer": "cat"}] * 7 + [{"answer": "dog"}] * 3
#: A file of each format, of one question each.
VQA = {"info": {"year": 2017}, "questions": [{"question_id": 7, "image_id": 1, "question": "what?"}]}
VQA_ANSWERS = {
    "license": {},
    "annotations": [
        {
            "question_id": 7,
            "image_id": 1,
            "question_type": "what",
            "answer_type": "other",
            "multiple_choice_answer": "cat",
            "answers": TEN,
        }
    ],
}
OK_VQA_ANSWERS = {
    "annotations": [
        {
            "question_id": 7,
            "image_id": 1,
            "question_type": "eight",
            "answer_type": "other",
            "confidence": 3,
            "answers": [{"answer_id": n, "raw_answer": "cats", **a} for n, a in enumerate(TEN)],
        }
    ]
}
TEXTVQA = {
    "dataset_name": "textvqa",
    "data": [
        {
            "question": "what?",
            "image_id": "0054c91397f2fe05",
            "question_id": 3,
            "answers": ["cat"] * 7 + ["dog"] * 3,
            "set_name": "train",
        }
    ],
}
VIZWIZ = [
    {
        "image": "VizWiz_train_00000000.jpg",
        "question": "what?",
        "answers": [{"answer_confidence": "yes", **a} for a in TEN],
        "answer_type": "other",
        "answerable": 1,
    }
]
GQA = {
    "02930152": {
        "imageId": "2354786",
        "question": "Is it?",
        "answer": "yes",
        "fullAnswer": "Yes, it is.",
        "isBalanced": True,
        "types": {"structural": "verify", "semantic": "attr", "detailed": "verifyAttr"},
    }
}
NAMED = {"questions": [VQA["questions"][0] | {"question_id": "VizWiz_val_1"}]}
NAMED_ANSWERS = {"annotations": [VQA_ANSWERS["annotations"][0] | {"question_id": "VizWiz_val_1"}]}
FORMATS = {
    "VQA v2": (VQA, VQA_ANSWERS, 7, 1, "other"),
    "VQA v2, named by texts": (NAMED, NAMED_ANSWERS, "VizWiz_val_1", 1, "other"),
    "OK-VQA": (VQA, OK_VQA_ANSWERS, 7, 1, "other"),
    "TextVQA": (TEXTVQA, None, 3, "0054c91397f2fe05", "unknown"),
    "VizWiz": (VIZWIZ, None, "VizWiz_train_00000000.jpg", "VizWiz_train_00000000.jpg", "other"),
    "GQA": (GQA, None, "02930152", "2354786", "verify"),
}


def written(tmp_path, name: str, content) -> str:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_format_is_told_by_its_keys(name: str, tmp_path) -> None:
    questions, answers, question_id, image_id, answer_type = FORMATS[name]
    path = written(tmp_path, "q.json", questions)
    file = read_question_file(path, answers and written(tmp_path, "a.json", answers))
    assert (file.ids, file.image_ids) == ([question_id], [image_id])
    assert file.format == name.replace("OK-VQA", "VQA v2").removesuffix(", named by texts")
    assert len(file.asked or ()) == 1
    asked = file.asked[0]
    assert asked.answer_type == answer_type
    assert asked.most_frequent == ("yes" if name == "GQA" else "cat")
    assert asked.answers == (("yes",) if name == "GQA" else ("cat",) * 7 + ("dog",) * 3)
    assert file.asked[:] == list(read_annotations(tmp_path / ("a.json" if answers else "q.json")).values())
    assert [q.text for q in read_questions(path)] == file.texts


def test_formats_of_five_sets_are_read() -> None:
    assert len(FORMATS) == 6


def test_what_is_in_a_file_is_counted(tmp_path) -> None:
    annotations = VQA_ANSWERS["annotations"] + [{"question_id": 8, "answers": ["a"]}]
    file = read_question_file(
        written(tmp_path, "q.json", VQA), written(tmp_path, "a.json", {"annotations": annotations})
    )
    assert str(file) == (
        f"{tmp_path}/q.json: VQA v2, 1 questions on 1 images, 10 answers, 0 questions without a type of "
        "answer, 0 with a single answer, 1 answered questions are not among them"
    )
    assert "1 questions without a type of answer" in str(read_question_file(written(tmp_path, "t.json", TEXTVQA)))


def test_a_test_split_has_questions_alone(tmp_path) -> None:
    split = [{"image": "VizWiz_test_0.jpg", "question": "what?"}]
    file = read_question_file(written(tmp_path, "q.json", split))
    assert (file.ids, file.asked) == (["VizWiz_test_0.jpg"], None)
    assert read_question_file(written(tmp_path, "v.json", VQA)).asked is None


BROKEN = {
    "json lines": ('{"question_id": 1}\n{"question_id": 2}', "looks like JSON lines"),
    "a number": ("3", "expected a list or an object"),
    "something else": ({"images": [], "categories": []}, "neither questions nor answers in it"),
    "no questions": ({"questions": []}, "neither questions nor answers in it"),
    "answers alone": (VQA_ANSWERS, "there are no questions in it"),
    "captions": (
        {"images": [], "annotations": [{"id": 4}]},
        r"annotations\[0\] \(id 4\): question_id is None",
    ),
    "a question twice": ({"questions": VQA["questions"] * 2}, "question 7 is duplicated"),
    "an empty question": ([{"image": "a.jpg", "question": " "}], "question a.jpg is empty"),
    "an entry that is a text": (["a"], r"entry\[0\] is not an object"),
    "an id that is true": (
        {"data": [{"question_id": True}]},
        r"data\[0\].*question_id is True, expected an integer or a string",
    ),
    "no image": ({"1": {"question": "what?"}}, "1: imageId is None, expected a string or an integer"),
    "answers that are no texts": (
        {"data": [TEXTVQA["data"][0] | {"answers": [3]}]},
        "question 3: answers must",
    ),
    "answers that are no list": ([VIZWIZ[0] | {"answers": ""}], "question VizWiz_.*: answers must"),
    "some with answers": (
        [VIZWIZ[0], {"image": "b.jpg", "question": "what?"}],
        "1 of the 2 questions of .* have no annotation, the first is b.jpg",
    ),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_file_is_named_with_what_is_wrong(name: str, tmp_path) -> None:
    content, message = BROKEN[name]
    with pytest.raises(InputError, match=f"q.json: .*{message}"):
        read_question_file(written(tmp_path, "q.json", content))


def test_there_are_broken_files() -> None:
    assert len(BROKEN) == 14


def test_who_listens_hears_of_every_mistake(tmp_path) -> None:
    good = VQA["questions"][0]
    content = {"questions": [good, good, good | {"question_id": 8, "question": ""}, {"question_id": 9}]}
    heard: list[str] = []
    assert read_question_file(written(tmp_path, "q.json", content), report=heard.append).ids == [7]
    assert [line.partition(": ")[2] for line in heard] == [
        "question 7 is duplicated",
        "question 8 is empty",
        "questions[3] (id 9): image_id is None, expected an integer or a string",
    ]


def test_an_object_whose_name_comes_twice_is_seen(tmp_path) -> None:
    text = json.dumps(GQA)
    path = written(tmp_path, "q.json", f"{text[:-1]}, {text[1:]}")
    with pytest.raises(InputError, match="question 02930152 is duplicated"):
        read_question_file(path)


@given(
    content=st.dictionaries(st.text(max_size=4), JSON, max_size=4) | st.lists(JSON, max_size=4),
    chunk=st.integers(1, 40),
    indent=st.sampled_from([None, 2]),
)
def test_members_are_read_the_same_in_pieces_of_any_size(content, chunk, indent, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("s") / "m.json"
    path.write_text(json.dumps(content, indent=indent))
    listed = {None: content} if isinstance(content, list) else content
    expected = [(k, e) for k, v in listed.items() for e in (v if isinstance(v, list) else [v])]
    assert list(members(path, chunk)) == expected


@given(cut=st.integers(1, 60), chunk=st.integers(1, 20))
def test_an_object_that_is_cut_short_is_never_taken_for_a_whole_one(cut, chunk, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("s") / "m.json"
    path.write_text(json.dumps(VQA)[:-cut])
    with pytest.raises(InputError, match=r"m.json: not valid JSON: .* at character \d+"):
        list(members(path, chunk))


BROKEN_OBJECTS = {
    "no quotes": ("{a: 1}", "expected a name in quotes"),
    "no colon": ('{"a" 1}', "expected a colon"),
    "no comma": ('{"a": 1 "b": 2}', "expected a comma or the end of the object"),
    "a comma too many": ('{"a": 1,}', "expected a name in quotes"),
    "more": ('{"a": 1} 5', "unexpected data after the end of the object"),
    "a long number": ('{"a": ' + "1" * 5000 + "}", "digits"),
}


@pytest.mark.parametrize("name", sorted(BROKEN_OBJECTS))
def test_a_broken_object_is_named_with_its_place(name: str, tmp_path) -> None:
    text, message = BROKEN_OBJECTS[name]
    with pytest.raises(InputError, match=f"m.json: not valid JSON: .*{message}"):
        list(members(Path(written(tmp_path, "m.json", text)), 3))


def test_broken_objects_are_listed() -> None:
    assert len(BROKEN_OBJECTS) == 6


ASKED = st.builds(
    lambda answers, kinds, most: VQAAnnotation(tuple(answers), *kinds, most),
    st.lists(st.text(max_size=3), min_size=1, max_size=10),
    st.tuples(st.text(max_size=3), st.text(max_size=3)),
    st.text(max_size=3),
)


@given(asked=st.lists(ASKED, max_size=9), data=st.data())
def test_a_compact_list_is_the_list(asked, data) -> None:
    compact = AnnotationList()
    for one in asked:
        compact.append(one)
    assert list(compact) == asked
    assert compact[1:-1] == asked[1:-1]
    assert compact.answers == sum(len(one.answers) for one in asked)
    order = data.draw(st.permutations(range(len(asked))))
    assert list(compact.chosen(order)) == [asked[n] for n in order]


def test_answers_in_another_order_find_their_questions(tmp_path) -> None:
    questions = [VQA["questions"][0] | {"question_id": n} for n in range(9)]
    annotations = [{"question_id": n, "answers": [str(n)]} for n in (3, 1, 8, 0, 2, 7, 6, 5, 4)]
    paths = (
        written(tmp_path, "q.json", {"questions": questions}),
        written(tmp_path, "a.json", {"annotations": annotations}),
    )
    annotations = read_question_file(*paths).annotations
    assert [annotation.answers for annotation in annotations] == [(str(n),) for n in range(9)]


PICTURES = [
    {"image_id": n, "width": 9, "height": 9, "url": f"https://x/VG/{n}.jpg", "coco_id": coco}
    for n, coco in ((1, 100), (2, None), (3, 300))
]


def genome(tmp_path, qas) -> tuple[str, str]:
    content = [{"id": qa["image_id"], "qas": [qa]} for qa in qas]
    return written(tmp_path, "question_answers.json", content), written(tmp_path, "image_data.json", PICTURES)


def qa(qa_id: int, image_id: int, answer: str, question: str = "What is it?") -> dict[str, object]:
    return {"qa_id": qa_id, "image_id": image_id, "question": question, "answer": answer}


ANSWERS = AnswerVocabulary(["clock", "2"], ["clock", "2"])


def test_genome_gives_questions_on_images_that_are_trained_on_with_a_known_answer(tmp_path) -> None:
    asked = [qa(11, 1, "A clock."), qa(12, 1, "Two."), qa(13, 1, "A hat."), qa(14, 2, "A clock.")]
    asked += [qa(15, 3, "A clock."), qa(16, 1, "A clock.", " ")]
    paths = genome(tmp_path, asked)
    file, counts = read_visual_genome(*paths, {100, 200}, ANSWERS)
    assert (file.ids, file.image_ids) == ([-11, -12], [100, 100])
    assert [ANSWERS.soft_scores(a.answers, rule) for a in file.asked for rule in ("official", "third")] == [
        {0: 1.0},
        {0: 1.0},
        {1: 1.0},
        {1: 1.0},
    ]
    assert counts == (
        f"{paths[0]}: 2 questions are trained on; left out are 1 with an answer that cannot be chosen, "
        "1 on images that are not COCO's, 1 on images not trained on, 1 without words"
    )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([qa(1, 9, "clock")], "question 1 is on image 9, which is not in .*image_data.json"),
        ([qa(1, 1, "clock"), qa(1, 1, "clock")], "question 1 is duplicated"),
        ([qa(1, 1, 5)], r"entry 0: qas\[0\].*answer is 5, expected a string"),
        ([qa(1, 3, "clock")], "no question is of use: 1 on images not trained on"),
    ],
)
def test_broken_genome_questions_are_named(asked, message, tmp_path) -> None:
    with pytest.raises(InputError, match=f"question_answers.json: {message}"):
        read_visual_genome(*genome(tmp_path, asked), {100}, ANSWERS)


def test_pairs_are_of_questions_to_train_on_and_of_each_one_once(tmp_path) -> None:
    path = written(tmp_path, "p.json", [[10, 30], [20, 99], [30, 40], [40, 20], [50, 50]])
    pairs, counts = pair_indices(path, [10, 20, 30, 40, 50])
    assert pairs.tolist() == [[0, 2], [3, 1]]
    assert counts.endswith(
        "2 pairs stay together; 1 questions are in none; passed over are 1 pairs with a question that is not "
        "trained on and 2 with one that is in a pair already"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([[1]], r"pair 0 is \[1\]"),
        ([[1, None]], "the ids of two questions"),
        ([[8, 9]], "none of its 1 pairs"),
    ],
)
def test_broken_pairs_are_named(content, message, tmp_path) -> None:
    with pytest.raises(InputError, match=f"p.json: .*{message}"):
        pair_indices(written(tmp_path, "p.json", content), [1, 2])


@pytest.mark.parametrize(
    "content",
    [
        {"data": [{k: v for k, v in TEXTVQA["data"][0].items() if k != "answers"} | {"answers": []}]},
        [VIZWIZ[0] | {"answers": []}],
        {"1": {"imageId": "2", "question": "what?", "answer": ""}},
    ],
    ids=["TextVQA", "VizWiz", "GQA"],
)
def test_a_question_with_no_answers_in_its_list_is_that_of_a_test_split(content, tmp_path) -> None:
    path = tmp_path / "test.json"
    path.write_text(json.dumps(content))
    assert len(read_questions(path)) == 1
    with pytest.raises(InputError, match="there are no answers in it"):
        read_annotations(path)


def test_questions_of_gqa_that_are_not_balanced_are_left_out_with_their_answers_only(tmp_path) -> None:
    one = GQA["02930152"]
    untold = {key: value for key, value in one.items() if key != "isBalanced"}
    content = GQA | {"b": one | {"isBalanced": False}, "c": untold}
    path = written(tmp_path, "q.json", content)
    file = read_question_file(path)
    assert (file.ids, file.unbalanced) == (["02930152", "c"], 1)
    assert "1 that are not balanced are left out" in str(file)
    assert "0 that are not balanced are left out" in str(read_question_file(written(tmp_path, "b.json", GQA)))
    assert [q.question_id for q in read_questions(path)] == ["02930152", "b", "c"]  # all are answered
    with pytest.raises(InputError, match="there are no balanced questions in it"):
        read_question_file(written(tmp_path, "n.json", {"b": one | {"isBalanced": False}}))
    asked = {key: value for key, value in one.items() if key != "answer"} | {"isBalanced": False}
    assert read_question_file(written(tmp_path, "t.json", {"b": asked})).ids == ["b"]
