"""Questions become batches of words, soft scores and official accuracies, sharded over processes."""

import json
import multiprocessing
import pickle
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bua.data.datamodule import shard_indices
from bua.data.image_lookup import RegionInput
from bua.data.vqa.dataset import QuestionEncoding, VQADataset
from bua.data.vqa.files import AnnotationList, QuestionFile
from bua.data.vqa.files.read import read_annotations, read_questions
from bua.data.vqa.sparse_rows import SparseRows
from bua.errors import InputError
from bua.metrics.vqa import question_accuracy, vqa_accuracy
from bua.store.reader import FeatureStore
from bua.structures.annotations import VQAAnnotation
from bua.text import UNKNOWN, Vocabulary
from bua.text.answers import SOFT_SCORES, AnswerVocabulary
from bua.text.tokenize import vqa
from tests.helpers.data import vqa_data, write_json
from tests.helpers.question_files import GENOME_IMAGES, genome_question
from tests.helpers.stores import regions, write_store

ROWS = st.lists(st.dictionaries(st.integers(0, 6), st.floats(0, 1), max_size=4), max_size=8)


@given(rows=ROWS, data=st.data())
def test_sparse_rows_equal_dense_rows(rows, data) -> None:
    sparse = SparseRows(rows)
    indices = data.draw(st.lists(st.integers(0, max(len(rows) - 1, 0)), max_size=5 if rows else 0))
    expected = [[rows[n].get(column, 0.0) for column in range(7)] for n in indices]
    found = sparse.dense(np.array(indices, np.int64), 7)
    np.testing.assert_allclose(found, np.array(expected).reshape(len(indices), 7), rtol=1e-6, atol=1e-30)
    assert sparse.counts().tolist() == [len(row) for row in rows]


# Answers in several raw forms and unanimous annotators, which decide how answers are compared.
RAW = ("yes", "Yes", "t-shirt", "t shirt", "2", "two", "the", "", "zebra", "a cat", "cat ")
ANSWER_LISTS = st.lists(st.sampled_from(RAW), min_size=1, max_size=10) | st.sampled_from(RAW).map(
    lambda a: [a] * 10
)
ANSWERS = AnswerVocabulary(["yes", "t shirt", "2", "", "cat"], ["yes", "t-shirt", "two", "the", "cat"])
TYPES = ("yes/no", "number", "other")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FeatureStore:
    return FeatureStore(write_store(tmp_path_factory.mktemp("s") / "f.h5", {5: regions(2), 6: regions(3)}))


def dataset(
    store: FeatureStore,
    answer_lists: list[list[str]],
    *,
    max_length: int = 4,
    padding: str = "front",
    soft_scores: str = "official",
    raw: bool = False,
    report=lambda line: None,
) -> VQADataset:
    """Return questions of four words with these answers."""
    annotations = AnnotationList()
    for n, answers in enumerate(answer_lists):
        annotations.append(VQAAnnotation(tuple(answers), TYPES[n % 3], "what", answers[0]))
    count = len(answer_lists)
    file = QuestionFile(
        path=Path("q.json"),
        format="VQA v2",
        ids=list(range(count)),
        image_ids=[5 + n % 2 for n in range(count)],
        texts=[f"is it {n}" for n in range(count)],
        annotations=annotations,
    )
    return VQADataset(
        store,
        [file],
        encoding=QuestionEncoding(Vocabulary(["is", "it", "0"], "vqa"), max_length, padding),
        answers=ANSWERS,
        soft_scores=partial(ANSWERS.soft_scores, rule=soft_scores, raw=raw),
        region_input=RegionInput(None),
        report=report,
        with_accuracies=True,
    )


@given(answers=st.lists(ANSWER_LISTS, min_size=1, max_size=6))
def test_batches_hold_the_official_accuracy_of_every_answer(answers, store) -> None:
    questions = dataset(store, answers)
    targets = questions.__getitems__(range(len(answers))).answer_targets
    for n, predicted in enumerate(ANSWERS.surface_forms):
        expected = [question_accuracy(predicted, given) for given in answers]
        assert targets.score(np.full(len(answers), n)).tolist() == expected


@pytest.mark.parametrize("rule", sorted(SOFT_SCORES))
def test_targets_follow_the_rule_of_soft_scores(rule: str, store) -> None:
    answers = [["yes"] * 7 + ["2"] * 2 + ["zebra"], ["zebra"] * 10, ["two"]]
    found = dataset(store, answers, soft_scores=rule).__getitems__([0, 1, 2]).targets
    scores = {"official": (1.0, 0.6), "third": (1.0, 2 / 3), "tenth": (0.7, 0.2)}[rule]
    expected = torch.zeros(3, 5)
    expected[0, 0], expected[0, 2] = scores
    expected[2, 2] = 1  # a single annotator is right, whatever the rule
    torch.testing.assert_close(found, expected)


def test_raw_targets_count_only_answers_in_normalized_form(store) -> None:
    answers = [["yes"] * 2 + ["Yes", "yes."] + ["2"] * 2 + ["two"] * 4, ["Two"]]
    found = dataset(store, answers, raw=True).__getitems__([0, 1]).targets
    assert found[0].tolist() == pytest.approx([0.6, 0, 0.6, 0, 0])
    assert found[1].tolist() == [0, 0, 1, 0, 0]  # a single annotator
    found = dataset(store, answers).__getitems__([0]).targets
    assert found[0].tolist() == pytest.approx([1, 0, 1, 0, 0])


def test_the_last_batch_is_left_out_only_if_it_is_smaller(scenes) -> None:
    count = len(vqa_data(scenes).train_set)
    for size, left in ((count - 1, 1), (count, 1), (count + 1, 1)):
        batches = list(vqa_data(scenes, batch_size=size, drop_last=True).train_dataloader())
        assert [len(batch.question_id) for batch in batches] == [min(size, count)] * left


def test_rules_of_soft_scores_are_collected() -> None:
    assert sorted(SOFT_SCORES) == ["official", "tenth", "third"]


@pytest.mark.parametrize(("padding", "expected"), [("front", [0, 4, 5, 6]), ("end", [4, 5, 6, 0])])
def test_words_are_padded_on_the_chosen_side(padding, expected, store) -> None:
    words = dataset(store, [["yes"]] * 2, padding=padding).__getitems__([0, 1]).words
    assert words[0].tolist() == expected
    assert (words == UNKNOWN).sum() == 1
    assert words.dtype == torch.long


@given(count=st.integers(1, 30), world_size=st.integers(1, 5), batch_size=st.integers(1, 7))
def test_questions_that_fill_up_shards_are_not_counted(count, world_size, batch_size, store) -> None:
    questions = dataset(store, [["yes"]] * count)
    counted, num_batches = [], set()
    for rank in range(world_size):
        shard = list(shard_indices(len(questions), rank, world_size))
        num_batches.add(-(-len(shard) // batch_size))
        for start in range(0, len(shard), batch_size):
            batch = questions.__getitems__(shard[start : start + batch_size])
            counted += np.array(batch.question_id)[batch.answer_targets.counted].tolist()
    assert sorted(counted) == list(range(count))
    assert len(num_batches) == 1  # otherwise a process would wait for a batch of another


def test_questions_without_a_known_answer_are_kept_and_counted(store) -> None:
    lines: list[str] = []
    questions = dataset(store, [["zebra"]] * 3 + [["yes"]], report=lines.append)
    assert len(questions) == 4
    assert lines == [
        "q.json: VQA v2, 4 questions on 2 images, 4 answers, 0 questions without answer type, "
        "4 with a single answer, which must match exactly, 0 annotations of other questions, "
        "3 without an answer in the list of 5, 3 with unknown words, 0 truncated to 4 words"
    ]


def test_questions_take_little_memory_and_hold_no_objects(store) -> None:
    """Forked processes share arrays, whereas reading an object would copy its page."""
    few, many = (dataset(store, [["yes"] * 9 + ["2"]] * n, max_length=14) for n in (100, 1100))
    assert (len(pickle.dumps(many)) - len(pickle.dumps(few))) / 1000 < 160  # bytes a question
    large = [v for name, v in vars(many).items() if isinstance(v, list | tuple | dict) and len(v) > 99]
    assert large == []


def _put_batch(questions: VQADataset, out) -> None:
    batch = questions.__getitems__([1, 0])
    out.put((batch.question_id, batch.words.tolist(), float(batch.regions.features.sum())))


@pytest.mark.slow
def test_spawned_processes_read_the_same_batches(store) -> None:
    questions = dataset(store, [["yes"], ["2"]])
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    process = context.Process(target=_put_batch, args=(questions, out))
    process.start()
    other = out.get(timeout=60)
    process.join()
    batch = questions.__getitems__([1, 0])
    assert other == (batch.question_id, batch.words.tolist(), float(batch.regions.features.sum()))


def train_and_val_data(scenes, **overrides):
    return vqa_data(
        scenes,
        train=[str(scenes / f"questions_{split}.json") for split in ("train", "val")],
        train_annotations=[str(scenes / f"annotations_{split}.json") for split in ("train", "val")],
        **overrides,
    )


def test_train_and_val_can_both_be_trained_on(scenes) -> None:
    train, both = vqa_data(scenes), train_and_val_data(scenes)
    assert len(both.train_set) == len(train.train_set) + len(train.val_set)
    seen = {i for batch in both.train_dataloader() for i in batch.question_id}
    assert seen == {
        q.question_id
        for split in ("train", "val")
        for q in read_questions(scenes / f"questions_{split}.json")
    }
    assert both.sources["train_2"].endswith("questions_val.json")


def test_files_need_as_many_annotations_and_distinct_questions(scenes) -> None:
    train = str(scenes / "questions_train.json")
    with pytest.raises(
        InputError, match=r"data.train: 2 files of questions need as many of annotations, not 1"
    ):
        vqa_data(scenes, train=[train, train])
    annotations = [str(scenes / "annotations_train.json")] * 2
    with pytest.raises(
        InputError, match=r"questions_train.json: question \d+ is also in .*questions_train.json"
    ):
        vqa_data(scenes, train=[train, train], train_annotations=annotations)
    with pytest.raises(
        InputError, match=r"questions_train.json: has no answers; give data.train.annotations=FILE"
    ):
        vqa_data(scenes, train_annotations=None)


def test_questions_in_two_files_are_reported(scenes, tmp_path) -> None:
    train = scenes / "questions_train.json"
    content = json.loads(train.read_text())
    content["questions"] = content["questions"][3:4]
    second = write_json(tmp_path, content, "again.json")
    with pytest.raises(InputError, match=rf"again.json: question \d+ is also in {train}"):
        vqa_data(
            scenes, train=[str(train), second], train_annotations=[str(scenes / "annotations_train.json")] * 2
        )


def test_words_and_answers_can_be_counted_in_more_files(scenes, tmp_path) -> None:
    test = {"questions": [{"question_id": 1, "image_id": 1, "question": "Wozu zebra?"}]}
    path = write_json(tmp_path, test, "test.json")
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


def test_answers_can_be_loaded_from_a_file(scenes, tmp_path) -> None:
    first = vqa_data(scenes, min_answer_count=3)
    first.save(tmp_path)
    again = vqa_data(scenes, answers=str(tmp_path / "answers.json"), min_answer_count=10**6)
    assert again.answers.to_dict() == first.answers.to_dict()
    assert again.record == first.record


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("count_from", "test", "data.answers.count_from=test: must be one of train, train_val"),
        ("soft_scores", "half", "data.answers.soft_scores=half: must be one of official, third, tenth"),
        ("padding", "middle", "data.questions.padding=middle: must be one of front, end"),
        ("visual_genome", "g.json", "data.visual_genome: questions=g.json and images=None need each other"),
        (
            "visual_genome_images",
            "i.json",
            "data.visual_genome: questions=None and images=i.json need each other",
        ),
        ("geometry", "x", "geometry must be a number above 0, got x"),
        ("geometry", float("nan"), "geometry must be a number above 0, got nan"),
        ("geometry", -1.0, "geometry must be a number above 0, got -1.0"),
        ("num_workers", -1, "num_workers must be an integer of at least 0, got -1"),
        ("batch_size", 0, "batch_size must be an integer of at least 1, got 0"),
        ("min_count", 0, "questions.min_count must be an integer of at least 1, got 0"),
        ("min_answer_count", 2.5, "answers.min_count must be an integer of at least 1, got 2.5"),
        ("max_length", "long", "questions.max_length must be an integer of at least 1, got long"),
    ],
)
def test_invalid_options_are_rejected(key, value, message, scenes) -> None:
    with pytest.raises(ValueError, match=message):
        vqa_data(scenes, **{key: value})


def test_extra_files_must_hold_questions_and_their_words_are_counted(scenes, caplog) -> None:
    caplog.set_level("INFO")
    annotations = str(scenes / "annotations_val.json")
    with pytest.raises(
        InputError, match="annotations_val.json: holds no questions, which data.questions.extra_files"
    ):
        vqa_data(scenes, extra_files=[annotations])
    questions = str(scenes / "questions_val.json")
    data = vqa_data(scenes, extra_files=[questions])
    count = len(read_questions(questions))
    assert f"{questions}: the words of {count} questions are counted, too" in caplog.messages
    assert any(line.startswith(f"vocabulary: {len(data.vocabulary) - 4} words; ") for line in data.describe())


def test_visual_genome_questions_are_trained_on_with_a_score_of_1(scenes, tmp_path) -> None:
    image = read_questions(scenes / "questions_train.json")[0].image_id
    images = [GENOME_IMAGES[0] | {"coco_id": image}, *GENOME_IMAGES[1:]]
    qas = [genome_question(11, 1, "Yes."), genome_question(12, 1, "A unicorn.")]
    content = [{"id": 1, "qas": qas}]
    files = {
        "visual_genome": write_json(tmp_path, content, "question_answers.json"),
        "visual_genome_images": write_json(tmp_path, images, "image_data.json"),
    }
    plain, extended = vqa_data(scenes), vqa_data(scenes, **files)
    assert len(extended.train_set) == len(plain.train_set) + 1
    assert extended.answers.answers == plain.answers.answers
    batch = extended.train_set.__getitems__([len(plain.train_set)])
    assert batch.question_id == [-11]
    assert batch.targets.sum() == batch.targets[0, extended.answers.index("yes")] == 1
    np.testing.assert_array_equal(
        batch.regions.features[0, :, :12], np.asarray(extended.store[image].features, np.float32)
    )


def test_answers_that_no_question_has_are_rejected(scenes, tmp_path) -> None:
    words = "the 0.1 0.2\nof 0.3 0.4\n"  # word vectors instead of answers
    path = tmp_path / "glove.txt"
    path.write_text(words)
    line = "questions_train.json: no question has any of the 2 known answers, such as '0.1 0.2'"
    with pytest.raises(InputError, match=line):
        vqa_data(scenes, answers=str(path))


def test_accuracies_by_answer_type_equal_the_metric(scenes) -> None:
    data = vqa_data(scenes, min_answer_count=2)
    rng = np.random.default_rng(0)
    annotations = read_annotations(scenes / "annotations_val.json")
    predicted, accuracies, types = {}, [], []
    for batch in data.val_dataloader():
        best = rng.integers(0, len(data.answers), len(batch.question_id))
        predicted |= {i: data.answers.surface_forms[n] for i, n in zip(batch.question_id, best, strict=True)}
        accuracies += batch.answer_targets.score(best).tolist()
        types += [data.val_set.types[n] for n in batch.answer_targets.types]
    expected = vqa_accuracy(predicted, annotations)
    assert 100 * np.mean(accuracies) == pytest.approx(expected["overall"], abs=0.00501)
    for name, value in expected["per_answer_type"].items():
        of_type = [a for a, answer_type in zip(accuracies, types, strict=True) if answer_type == name]
        assert 100 * np.mean(of_type) == pytest.approx(value, abs=0.00501)


def test_answers_of_questions_in_train_and_val_are_counted_once(scenes, caplog) -> None:
    """Models are submitted after training on train and val."""
    files = [f"{scenes}/questions_{split}.json" for split in ("train", "val")]
    annotations = [f"{scenes}/annotations_{split}.json" for split in ("train", "val")]
    both = {"train": files, "train_annotations": annotations, "min_answer_count": 3}
    once = vqa_data(scenes, **both, count_from="train")
    assert vqa_data(scenes, **both, count_from="train_val").answers.answers == once.answers.answers
    assert re.search(r"questions_val.json: (\d+) of its \1 questions are also used for training", caplog.text)


def test_normal_forms_get_the_surface_forms_of_the_annotators(scenes, tmp_path) -> None:
    path = tmp_path / "trainval_label2ans.json"
    path.write_text('["yes", "t shirt", "2", "never given"]')
    annotations = json.loads((scenes / "annotations_train.json").read_text())
    for answer in annotations["annotations"][0]["answers"]:
        answer["answer"] = "T-shirt"
    changed = tmp_path / "a.json"
    changed.write_text(json.dumps(annotations))
    answers = vqa_data(scenes, answers=str(path), train_annotations=str(changed)).answers
    assert answers.answers == ("yes", "t shirt", "2", "never given")
    assert answers.surface_forms == ("yes", "T-shirt", "2", "never given")


def test_unknown_words_and_truncated_questions_are_counted(scenes, caplog) -> None:
    with caplog.at_level("INFO"):
        data = vqa_data(scenes, max_length=5, min_count=12)
    lengths = [
        len(vqa(q["question"])) for q in json.loads((scenes / "questions_val.json").read_text())["questions"]
    ]
    line = next(r.message for r in caplog.records if "questions_val.json: VQA" in r.message)
    unknown = int(np.count_nonzero((data.val_set._words == UNKNOWN).any(1)))
    assert 0 < unknown < len(lengths)
    assert line.endswith(
        f"{unknown:,} with unknown words, {sum(n > 5 for n in lengths):,} truncated to 5 words"
    )


def test_nested_lists_of_files_are_flattened(scenes) -> None:
    val = str(scenes / "questions_val.json")
    nested = vqa_data(scenes, extra_files=[[val, str(scenes / "questions_test.json")], val])
    flat = vqa_data(scenes, extra_files=[val, str(scenes / "questions_test.json"), val])
    assert nested.vocabulary == flat.vocabulary
    assert nested.sources == flat.sources


@pytest.mark.parametrize("order", [(2, 0, 2, 1, 0, 2), (2, 0, 1, 0), (1, 1), (0, 3, 1)])
def test_several_questions_about_an_image_get_its_regions(order, scenes) -> None:
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
