"""Questions as arrays are the questions: words, soft scores, accuracies, orders, shares."""

import json
import multiprocessing
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from bua.data.region_input import RegionInput
from bua.data.vqa.files.read import read_annotations, read_questions
from hypothesis import given
from hypothesis import strategies as st

from bua.data.sampler import shard_indices
from bua.data.vqa.dataset import VQADataset
from bua.data.vqa.files import AnnotationList, QuestionFile
from bua.data.vqa.sparse_rows import SparseRows
from bua.errors import InputError
from bua.metrics.vqa import question_accuracy, vqa_accuracy
from bua.store.reader import FeatureStore
from bua.structures.annotations import VQAAnnotation
from bua.text import UNKNOWN, Vocabulary
from bua.text.answers import SOFT_SCORES, AnswerVocabulary
from bua.text.tokenize import vqa
from tests.data.test_vqa_files import PICTURES, qa, written
from tests.helpers.data import vqa_data
from tests.helpers.stores import regions, write_store

ROWS = st.lists(st.dictionaries(st.integers(0, 6), st.floats(0, 1), max_size=4), max_size=8)


@given(rows=ROWS, data=st.data())
def test_sparse_rows_are_the_rows(rows, data) -> None:
    sparse = SparseRows(rows)
    chosen = data.draw(st.lists(st.integers(0, max(len(rows) - 1, 0)), max_size=5 if rows else 0))
    expected = [[rows[n].get(column, 0.0) for column in range(7)] for n in chosen]
    found = sparse.dense(np.array(chosen, np.int64), 7)
    np.testing.assert_allclose(found, np.array(expected).reshape(len(chosen), 7), rtol=1e-6, atol=1e-30)
    assert sparse.counts().tolist() == [len(row) for row in rows]


# Answers, their raw forms and unanimity decide what is compared: all of them come together here.
RAW = ("yes", "Yes", "t-shirt", "t shirt", "2", "two", "the", "", "zebra", "a cat", "cat ")
GIVEN = st.lists(st.sampled_from(RAW), min_size=1, max_size=10) | st.sampled_from(RAW).map(lambda a: [a] * 10)
SAID = AnswerVocabulary(["yes", "t shirt", "2", "", "cat"], ["yes", "t-shirt", "two", "the", "cat"])
TYPES = ("yes/no", "number", "other")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FeatureStore:
    return FeatureStore(write_store(tmp_path_factory.mktemp("s") / "f.h5", {5: regions(2), 6: regions(3)}))


def dataset(store: FeatureStore, given: list[list[str]], *, rule: str = "official", **more) -> VQADataset:
    asked = AnnotationList()
    for n, answers in enumerate(given):
        asked.append(VQAAnnotation(tuple(answers), TYPES[n % 3], "what", answers[0]))
    count = len(given)
    file = QuestionFile(Path("q.json"), "VQA v2", list(range(count)), [5 + n % 2 for n in range(count)],
                        [f"is it {n}" for n in range(count)], asked)  # fmt: skip
    options = {"length": 4, "padding": "front", "tell": lambda line: None, "judged": True}
    return VQADataset(
        store,
        [file],
        vocabulary=Vocabulary(["is", "it", "0"], "vqa"),
        answers=SAID,
        rule=rule,
        region_input=RegionInput(None),
        **(options | more),
    )


@given(answers=st.lists(GIVEN, min_size=1, max_size=6))
def test_a_batch_knows_the_official_accuracy_of_every_answer(answers, store) -> None:
    questions = dataset(store, answers)
    marks = questions.__getitems__(range(len(answers))).marks
    for said in range(len(SAID)):
        expected = [question_accuracy(SAID.surface_forms[said], given) for given in answers]
        assert marks.of(np.full(len(answers), said)).tolist() == expected


@pytest.mark.parametrize("rule", sorted(SOFT_SCORES))
def test_targets_follow_the_rule(rule: str, store) -> None:
    answers = [["yes"] * 7 + ["2"] * 2 + ["zebra"], ["zebra"] * 10, ["two"]]
    found = dataset(store, answers, rule=rule).__getitems__([0, 1, 2]).targets
    scores = {"official": (1.0, 0.6), "third": (1.0, 2 / 3), "tenth": (0.7, 0.2)}[rule]
    expected = torch.zeros(3, 5)
    expected[0, 0], expected[0, 2] = scores
    expected[2, 2] = 1  # a single annotator is right, whatever the rule
    torch.testing.assert_close(found, expected)


def test_there_are_three_rules_of_soft_scores() -> None:
    assert sorted(SOFT_SCORES) == ["official", "tenth", "third"]


@pytest.mark.parametrize(("padding", "expected"), [("front", [0, 4, 5, 6]), ("end", [4, 5, 6, 0])])
def test_words_are_padded_where_it_is_wanted(padding, expected, store) -> None:
    words = dataset(store, [["yes"]] * 2, padding=padding).__getitems__([0, 1]).words
    assert words[0].tolist() == expected
    assert (words == UNKNOWN).sum() == 1
    assert words.dtype == torch.long


@given(count=st.integers(1, 30), ranks=st.integers(1, 5), size=st.integers(1, 7))
def test_what_fills_up_a_share_is_not_counted(count, ranks, size, store) -> None:
    questions = dataset(store, [["yes"]] * count)
    counted, batches = [], set()
    for rank in range(ranks):
        share = list(shard_indices(len(questions), rank, ranks))
        batches.add(-(-len(share) // size))
        for start in range(0, len(share), size):
            batch = questions.__getitems__(share[start : start + size])
            counted += np.array(batch.question_id)[batch.answer_targets.counted].tolist()
    assert sorted(counted) == list(range(count))
    assert len(batches) == 1  # nobody waits for a batch that another does not have


def test_questions_with_none_of_the_answers_stay_and_are_counted(store) -> None:
    lines: list[str] = []
    questions = dataset(store, [["zebra"]] * 3 + [["yes"]], report=lines.append)
    assert len(questions) == 4
    assert lines == [
        "q.json: VQA v2, 4 questions on 2 images, 4 answers, 0 questions without a type of answer, "
        "4 with a single answer, which is right if it is the same, 0 answered questions are not among them, "
        "3 with none of the 5 answers, 3 with unknown words, 0 cut to 4 words"
    ]


def test_questions_take_little_room_and_are_no_objects(store) -> None:
    """So that processes that were forked share them: a look at an object would copy its page."""
    few, many = (dataset(store, [["yes"] * 9 + ["2"]] * n, length=14) for n in (100, 1100))
    assert (len(pickle.dumps(many)) - len(pickle.dumps(few))) / 1000 < 160  # bytes a question
    held = [v for name, v in vars(many).items() if isinstance(v, list | tuple | dict) and len(v) > 99]
    assert held == []


def _first(questions: VQADataset, out) -> None:
    batch = questions.__getitems__([1, 0])
    out.put((batch.question_id, batch.words.tolist(), float(batch.regions.features.sum())))


@pytest.mark.slow
def test_a_process_that_was_not_forked_reads_the_same(store) -> None:
    questions = dataset(store, [["yes"], ["2"]])
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    process = context.Process(target=_first, args=(questions, out))
    process.start()
    other = out.get(timeout=60)
    process.join()
    batch = questions.__getitems__([1, 0])
    assert other == (batch.question_id, batch.words.tolist(), float(batch.regions.features.sum()))


def both(scenes, **more):
    return vqa_data(
        scenes,
        train=[str(scenes / f"questions_{split}.json") for split in ("train", "val")],
        train_annotations=[str(scenes / f"annotations_{split}.json") for split in ("train", "val")],
        **more,
    )


def test_train_and_val_can_be_trained_on_together(scenes) -> None:
    alone, together = vqa_data(scenes), both(scenes)
    assert len(together.train_set) == len(alone.train_set) + len(alone.val_set)
    seen = {i for batch in together.train_dataloader() for i in batch.question_id}
    assert seen == {
        q.question_id
        for split in ("train", "val")
        for q in read_questions(scenes / f"questions_{split}.json")
    }
    assert together.sources["train_2"].endswith("questions_val.json")


def test_files_to_train_on_go_with_as_many_annotations_and_share_no_question(scenes) -> None:
    train = str(scenes / "questions_train.json")
    with pytest.raises(InputError, match=r"data.train: 2 files of questions and 1 in data.train.annotations"):
        vqa_data(scenes, train=[train, train])
    annotations = [str(scenes / "annotations_train.json")] * 2
    with pytest.raises(
        InputError, match=r"questions_train.json: question \d+ is in .*questions_train.json, too"
    ):
        vqa_data(scenes, train=[train, train], train_annotations=annotations)
    with pytest.raises(InputError, match=r"have no answers; give data.train.annotations=FILE"):
        vqa_data(scenes, train_annotations=None)


def test_a_question_that_is_in_two_files_is_named(scenes, tmp_path) -> None:
    train = scenes / "questions_train.json"
    again = json.loads(train.read_text())
    again["questions"] = again["questions"][3:4]
    second = written(tmp_path, "again.json", again)
    with pytest.raises(InputError, match=rf"again.json: question \d+ is in {train}, too"):
        vqa_data(
            scenes, train=[str(train), second], train_annotations=[str(scenes / "annotations_train.json")] * 2
        )


def test_words_and_answers_can_be_those_of_more_files(scenes, tmp_path) -> None:
    test = {"questions": [{"question_id": 1, "image_id": 1, "question": "Wozu zebra?"}]}
    path = written(tmp_path, "test.json", test)
    data = vqa_data(scenes, extra_files=[path], count_from="train_val", min_answer_count=3)
    assert vqa_data(scenes).vocabulary.index("wozu") is None
    assert data.vocabulary.words.count("wozu") == 1
    counted = [
        (a.most_frequent, a.answers)
        for split in ("train", "val")
        for a in read_annotations(scenes / f"annotations_{split}.json").values()
    ]
    expected = AnswerVocabulary.from_questions(counted, min_count=3, keep_empty=False)
    assert data.answers.answers == expected.answers
    assert data.answers.answers != vqa_data(scenes, min_answer_count=3).answers.answers


def test_a_list_of_answers_is_taken_as_it_is(scenes, tmp_path) -> None:
    first = vqa_data(scenes, min_answer_count=3)
    first.save(tmp_path)
    again = vqa_data(scenes, answers=str(tmp_path / "answers.json"), min_answer_count=10**6)
    assert again.answers.to_dict() == first.answers.to_dict()
    assert again.record == first.record


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("count_from", "test", "count_from=test: train, train_val is needed"),
        ("soft_scores", "half", "soft_scores=half: official, third, tenth is needed"),
        ("padding", "middle", "padding=middle: front, end is needed"),
        ("genome", "g.json", "data.visual_genome.images is needed"),
        ("visual_genome_images", "i.json", "data.visual_genome.images=i.json: data.visual_genome.questions is needed, too"),
        ("geometry", "x", "geometry must be a number above 0, got x"),
        ("geometry", float("nan"), "geometry must be a number above 0, got nan"),
        ("geometry", -1.0, "geometry must be a number above 0, got -1.0"),
        ("num_workers", -1, "workers must be an integer of at least 0, got -1"),
        ("batch_size", 0, "batch_size must be an integer of at least 1, got 0"),
        ("min_count", 0, "min_count must be an integer of at least 1, got 0"),
        ("min_answer_count", 2.5, "min_answer_count must be an integer of at least 1, got 2.5"),
        ("length", "long", "length must be an integer of at least 1, got long"),
    ],
)
def test_options_that_there_are_not_are_named(key, value, message, scenes) -> None:
    with pytest.raises(ValueError, match=message):
        vqa_data(scenes, **{key: value})


def test_words_of_a_file_without_questions_are_an_error_and_others_are_counted(scenes, caplog) -> None:
    caplog.set_level("INFO")
    answers = str(scenes / "annotations_val.json")
    with pytest.raises(InputError, match="annotations_val.json: data.questions.extra_files needs questions"):
        vqa_data(scenes, extra_files=[answers])
    asked = str(scenes / "questions_val.json")
    data = vqa_data(scenes, extra_files=[asked])
    count = len(read_questions(asked))
    assert f"{asked}: the words of {count} questions are counted, too" in caplog.messages
    assert f"{len(data.vocabulary) - 4} words of questions are known" in caplog.messages


def test_questions_of_genome_are_trained_on_with_a_score_of_1(scenes, tmp_path) -> None:
    image = read_questions(scenes / "questions_train.json")[0].image_id
    pictures = [PICTURES[0] | {"coco_id": image}, *PICTURES[1:]]
    content = [{"id": 1, "qas": [qa(11, 1, "Yes."), qa(12, 1, "A unicorn.")]}]
    files = {
        "genome": written(tmp_path, "question_answers.json", content),
        "visual_genome_images": written(tmp_path, "image_data.json", pictures),
    }
    alone, more = vqa_data(scenes), vqa_data(scenes, **files)
    assert len(more.train_set) == len(alone.train_set) + 1
    assert more.answers == alone.answers or more.answers.answers == alone.answers.answers
    batch = more.train_set.__getitems__([len(alone.train_set)])
    assert batch.question_id == [-11]
    assert batch.targets.sum() == batch.targets[0, more.answers.index("yes")] == 1
    np.testing.assert_array_equal(
        batch.regions.features[0, :, :12], np.asarray(more.store[image].features, np.float32)
    )


def test_a_list_of_answers_that_nobody_gave_is_refused(scenes, tmp_path) -> None:
    words = "the 0.1 0.2\nof 0.3 0.4\n"  # word vectors instead of answers
    path = tmp_path / "glove.txt"
    path.write_text(words)
    line = "questions_train.json: no question is answered with any of the 2 answers, as '0.1 0.2'"
    with pytest.raises(InputError, match=line):
        vqa_data(scenes, answers=str(path))


def test_scores_by_type_are_those_of_the_metric(scenes) -> None:
    data = vqa_data(scenes, min_answer_count=2)
    rng = np.random.default_rng(0)
    annotations = read_annotations(scenes / "annotations_val.json")
    said, accuracies, kinds = {}, [], []
    for batch in data.val_dataloader():
        best = rng.integers(0, len(data.answers), len(batch.question_id))
        said |= {i: data.answers.surface_forms[n] for i, n in zip(batch.question_id, best, strict=True)}
        accuracies += batch.answer_targets.of(best).tolist()
        kinds += [data.val_set.types[n] for n in batch.answer_targets.types]
    expected = vqa_accuracy(said, annotations)
    assert 100 * np.mean(accuracies) == pytest.approx(expected["overall"], abs=0.00501)
    for name, value in expected["per_answer_type"].items():
        mine = [a for a, kind in zip(accuracies, kinds, strict=True) if kind == name]
        assert 100 * np.mean(mine) == pytest.approx(value, abs=0.00501)


def test_answers_to_questions_of_both_train_and_val_are_counted_once(scenes, caplog) -> None:
    """Training on train and val, as published models are submitted."""
    files = [f"{scenes}/questions_{split}.json" for split in ("train", "val")]
    given = [f"{scenes}/annotations_{split}.json" for split in ("train", "val")]
    both = {"train": files, "train_annotations": given, "min_answer_count": 3}
    once = vqa_data(scenes, **both, count_from="train")
    assert vqa_data(scenes, **both, count_from="train_val").answers.answers == once.answers.answers
    assert re.search(r"questions_val.json: (\d+) of its \1 questions are trained on", caplog.text)


def test_a_list_of_normal_forms_is_written_as_annotators_write(scenes, tmp_path) -> None:
    path = tmp_path / "trainval_label2ans.json"
    path.write_text('["yes", "t shirt", "2", "never said"]')
    annotations = json.loads((scenes / "annotations_train.json").read_text())
    for answer in annotations["annotations"][0]["answers"]:
        answer["answer"] = "T-shirt"
    changed = tmp_path / "a.json"
    changed.write_text(json.dumps(annotations))
    answers = vqa_data(scenes, answers=str(path), train_annotations=str(changed)).answers
    assert answers.answers == ("yes", "t shirt", "2", "never said")
    assert answers.surface_forms == ("yes", "T-shirt", "2", "never said")


def test_unknown_words_and_cut_questions_are_counted(scenes, caplog) -> None:
    with caplog.at_level("INFO"):
        data = vqa_data(scenes, length=5, min_count=12)
    lengths = [
        len(vqa(q["question"])) for q in json.loads((scenes / "questions_val.json").read_text())["questions"]
    ]
    line = next(r.message for r in caplog.records if "questions_val.json: VQA" in r.message)
    unknown = int(np.count_nonzero((data.val_set._words == UNKNOWN).any(1)))
    assert 0 < unknown < len(lengths)
    assert line.endswith(f"{unknown:,} with unknown words, {sum(n > 5 for n in lengths):,} cut to 5 words")


def test_a_list_within_a_list_of_files_is_read_as_its_files(scenes) -> None:
    val = str(scenes / "questions_val.json")
    data = vqa_data(scenes, extra_files=[[val, str(scenes / "questions_test.json")], val])
    flat = vqa_data(scenes, extra_files=[val, str(scenes / "questions_test.json"), val])
    assert data.vocabulary == flat.vocabulary
    assert data.sources == flat.sources


def test_pairs_of_several_files_stay_together(scenes, tmp_path, caplog) -> None:
    caplog.set_level("INFO")
    ids = [question.question_id for question in read_questions(scenes / "questions_train.json")]
    files = [
        written(tmp_path, f"{n}.json", [[ids[n], ids[-1 - n]], [ids[n + 5], ids[-6 - n]]]) for n in (0, 1)
    ]
    with pytest.raises(InputError, match=rf"question {ids[0]} is in pairs of two of the files"):
        vqa_data(scenes, pairs=[files[0], files[0]], batch_size=4)
    data = vqa_data(scenes, pairs=files, batch_size=4)
    together = [set(batch.question_id) for batch in data.train_dataloader()]
    for n in (0, 1):
        assert f"{files[n]}: 2 pairs stay together" in caplog.text
        for pair in ({ids[n], ids[-1 - n]}, {ids[n + 5], ids[-6 - n]}):
            assert sum(pair <= batch for batch in together) == 1


@pytest.mark.parametrize("order", [(2, 0, 2, 1, 0, 2), (2, 0, 1, 0), (1, 1), (0, 3, 1)])
def test_questions_about_one_image_have_its_regions_each(order, scenes) -> None:
    data = vqa_data(scenes)
    store, images = data.store, [data.store.image_ids[n] for n in order]
    found = data.region_input.load(store, images)
    assert len(found.mask) == len(order)
    for n, image_id in enumerate(images):
        alone = data.region_input.load(store, [image_id])
        count = int(alone.mask.sum())
        assert found.mask[n].sum() == count
        for part, one in zip(found, alone, strict=True):
            assert torch.equal(part[n, :count], one[0])
