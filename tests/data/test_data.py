"""Readers report mistakes, batches are padded and masked, and epochs can be resumed."""

import json

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from bua.data.captions.dataset import pad_captions, pad_references
from bua.data.captions.files import read_captions
from bua.data.datamodule import EpochSampler, ResumableLoader
from bua.data.image_lookup import read_ids, to_relative, with_area
from bua.data.vqa.dataset import PADDING_SIDES, pad_questions
from bua.data.vqa.files.read import read_annotations, read_question_file, read_questions
from bua.errors import InputError
from bua.store.reader import PaddedRegions
from bua.text import BOS, EOS, PADDING
from tests.helpers.caption_files import CAPTION, IMAGE
from tests.helpers.data import caption_data, first_batch, vqa_data, write_json
from tests.helpers.stores import regions, write_store

QUESTION = {"question_id": 7, "image_id": 1, "question": "what?"}
ANNOTATION = {
    "question_id": 7,
    "answers": [{"answer": "cat"}],
    "answer_type": "other",
    "question_type": "what",
}


BROKEN_TEXT = {
    "json lines": ('{"a": 1}\n{"a": 2}', "JSON lines"),
    "truncated": ('{"images": [', "not valid JSON: .* line 1 column"),
    "nested too deeply": ("[" * 100_000, "not valid JSON"),
    "html": ("<html>", "not valid JSON"),
    "empty": ("", "not valid JSON"),
}


@pytest.mark.parametrize("name", sorted(BROKEN_TEXT))
def test_invalid_json_is_reported_with_its_position(name: str, tmp_path) -> None:
    text, message = BROKEN_TEXT[name]
    with pytest.raises(InputError, match=f"file.json: .*{message}"):
        read_captions(write_json(tmp_path, text))
    streamed = message.replace("line 1 column", "character 12 ")
    for read in (read_questions, read_annotations):
        with pytest.raises(InputError, match=f"file.json: .*{streamed}"):
            read(write_json(tmp_path, text))


def test_byte_order_marks_are_accepted(tmp_path) -> None:
    path = tmp_path / "f.json"
    path.write_text(json.dumps({"images": [IMAGE], "annotations": [CAPTION]}), encoding="utf-8-sig")
    assert read_captions(path).captions == {1: ["a cat"]}


BROKEN_VQA = {
    "a duplicate question": ([QUESTION, QUESTION], [ANNOTATION], "question 7 is duplicated"),
    "an empty question": ([QUESTION | {"question": ""}], [ANNOTATION], "question 7 is empty"),
    "an id of another type": (
        [QUESTION | {"question_id": "7"}],
        [ANNOTATION],
        "1 of the 1 questions .* have no annotation, the first is 7",
    ),
    "an id that is a fraction": (
        [QUESTION | {"question_id": 7.5}],
        [ANNOTATION],
        "question_id is 7.5, expected an integer",
    ),
    "a missing annotation": (
        [QUESTION],
        [ANNOTATION | {"question_id": 8}],
        "1 of the 1 questions .* have no annotation, the first is 7",
    ),
    "no answers": ([QUESTION], [ANNOTATION | {"answers": []}], "question 7: answers must be"),
    "answers that are numbers": (
        [QUESTION],
        [ANNOTATION | {"answers": [{"answer": 3}]}],
        "question 7: answers must be",
    ),
    "a duplicate annotation": ([QUESTION], [ANNOTATION, ANNOTATION], "question 7 is duplicated"),
}


@pytest.mark.parametrize("name", sorted(BROKEN_VQA))
def test_broken_questions_and_annotations_are_reported(name: str, tmp_path) -> None:
    questions, annotations, message = BROKEN_VQA[name]
    (tmp_path / "q.json").write_text(json.dumps({"questions": questions}))
    (tmp_path / "a.json").write_text(json.dumps({"annotations": annotations}))
    with pytest.raises(InputError, match=message):
        read_question_file(tmp_path / "q.json", tmp_path / "a.json")


def test_broken_files_are_collected() -> None:
    assert len(BROKEN_TEXT) == 5
    assert len(BROKEN_VQA) == 8


def test_annotations_without_types_count_as_unknown(tmp_path) -> None:
    annotation = {"question_id": 7, "answers": [{"answer": "cat"}, {"answer": "dog"}, {"answer": "dog"}]}
    read = read_annotations(write_json(tmp_path, {"annotations": [annotation]}))[7]
    assert (read.answer_type, read.question_type, read.most_frequent) == ("unknown", "unknown", "dog")


def test_images_are_selected_by_a_list_of_ids_in_its_order(tmp_path) -> None:
    images = [IMAGE | {"id": n} for n in (1, 2, 3)]
    path = write_json(tmp_path, {"images": images, "annotations": [CAPTION]})
    (tmp_path / "ids.txt").write_text("3\n1\n")
    assert list(read_captions(path, tmp_path / "ids.txt").captions) == [3, 1]
    (tmp_path / "ids.txt").write_text("3\n9\n")
    with pytest.raises(InputError, match=r"ids.txt: image 9 is not in"):
        read_captions(path, tmp_path / "ids.txt")


@pytest.mark.parametrize(("text", "message"), [("\n", "no image ids"), ("4\n4\n", "image 4 is duplicated")])
def test_broken_lists_of_ids_are_reported(text, message, tmp_path) -> None:
    (tmp_path / "ids.txt").write_text(text)
    with pytest.raises(InputError, match=f"ids.txt: .*{message}"):
        read_ids(tmp_path / "ids.txt")


WORDS = st.lists(st.integers(4, 99), max_size=9)


@given(
    captions=st.lists(st.lists(WORDS, max_size=4), max_size=4),
    max_length=st.integers(1, 9),
)
@example(captions=[], max_length=5)
@example(captions=[[], []], max_length=5)
def test_captions_get_bos_and_eos_and_are_truncated_and_padded(captions, max_length) -> None:
    out = pad_captions(captions, max_length)
    lengths = [min(len(words), max_length) for image in captions for words in image]
    assert out.shape == (len(captions), max(map(len, captions), default=0), max(lengths, default=0) + 2)
    for b, image in enumerate(captions):
        for n in range(out.shape[1]):
            expected = [BOS, *image[n][:max_length], EOS] if n < len(image) else []
            row = out[b, n].tolist()
            assert row[: len(expected)] == expected
            assert set(row[len(expected) :]) <= {PADDING}


@pytest.mark.parametrize(
    ("words", "expected"),
    [(2, [BOS, 4, 4, EOS, PADDING]), (3, [BOS, 4, 4, 4, EOS]), (4, [BOS, *[4] * 4]), (9, [BOS, *[4] * 4])],
)
def test_captions_that_do_not_keep_their_end_have_one_word_more(words, expected) -> None:
    out = pad_captions([[[4] * words, [4] * 9]], 3, keep_end=False)
    assert out[0, 0].tolist() == expected


def test_training_captions_lose_their_end_if_the_data_say_so(scenes) -> None:
    for keep_end in (True, False):
        batch = next(iter(caption_data(scenes, max_length=3, keep_end=keep_end).train_dataloader()))
        assert batch.words.shape[2] == 5
        assert bool((batch.words[..., -1] == EOS).all()) == keep_end


@given(captions=st.lists(st.lists(WORDS, max_size=4), max_size=4))
@example(captions=[])
@example(captions=[[], []])
def test_references_end_with_eos_and_have_the_length_minus_1_where_an_image_has_fewer(captions) -> None:
    words, lengths = pad_references(captions)
    longest = max((len(reference) for image in captions for reference in image), default=0)
    most = max(map(len, captions), default=0)
    assert (words.shape, lengths.shape) == ((len(captions), most, longest + 1), (len(captions), most))
    for b, image in enumerate(captions):
        assert lengths[b].tolist() == [len(reference) for reference in image] + [-1] * (most - len(image))
        for n in range(most):
            expected = [*image[n], EOS] if n < len(image) else []
            assert words[b, n].tolist() == expected + [PADDING] * (longest + 1 - len(expected))


@given(questions=st.lists(WORDS, min_size=1, max_size=5), length=st.integers(1, 9))
def test_questions_are_truncated_and_padded_on_either_side(questions, length) -> None:
    front, end = (pad_questions(questions, length, padding).tolist() for padding in PADDING_SIDES)
    for n, words in enumerate(questions):
        kept = words[:length]
        gap = [PADDING] * (length - len(kept))
        assert (front[n], end[n]) == (gap + kept, kept + gap)


def test_geometry_is_relative_to_width_and_height() -> None:
    boxes = np.array([[[10.0, 5.0, 30.0, 20.0]]], np.float32)
    padded = PaddedRegions(np.ones((1, 1, 3)), boxes, np.ones((1, 1), bool), np.array([[50, 100]]))
    expected = [[[0.1, 0.1, 0.3, 0.4, 0.06]]]
    torch.testing.assert_close(with_area(to_relative(padded).boxes), torch.tensor(expected))


@given(
    count=st.integers(1, 40), seed=st.integers(0, 5), epoch=st.integers(0, 5), world_size=st.integers(1, 4)
)
def test_order_is_a_permutation_that_depends_on_seed_and_epoch_alone(count, seed, epoch, world_size) -> None:
    def order(rank: int) -> list[int]:
        sampler = EpochSampler(count, seed=seed, rank=rank, world_size=world_size)
        sampler.set_epoch(epoch)
        return list(sampler)

    shards = [order(rank) for rank in range(world_size)]
    assert {len(shard) for shard in shards} == {-(-count // world_size)}
    assert {n for shard in shards for n in shard} == set(range(count))
    assert shards == [order(rank) for rank in range(world_size)]


def test_orders_of_epochs_and_seeds_differ() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = EpochSampler(50, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert len({tuple(order(s, e)) for s in range(3) for e in range(3)}) == 9


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("num_yielded", [0, 1, 3, 4])
def test_loader_resumes_within_an_epoch(num_workers: int, num_yielded: int) -> None:
    def loader() -> ResumableLoader:
        sampler = EpochSampler(19, seed=4)
        sampler.set_epoch(2)
        return ResumableLoader(range(19), sampler=sampler, batch_size=4, num_workers=num_workers)

    expected = [batch.tolist() for batch in loader()]
    first = loader()
    running = iter(first)
    before = [next(running).tolist() for _ in range(num_yielded)]
    second = loader()
    second.skip = first.num_yielded
    assert before + [batch.tolist() for batch in second] == expected
    assert [batch.tolist() for batch in second] == expected  # the next pass is complete again


def test_a_pass_that_is_not_resumed_begins_at_the_first_position() -> None:
    sampler = EpochSampler(19, seed=4)
    order = list(sampler)
    assert sorted(order) == list(range(19))
    loader = ResumableLoader(range(19), sampler=sampler, batch_size=4)
    assert [n for batch in loader for n in batch.tolist()] == order
    loader.skip = 1
    assert [n for batch in loader for n in batch.tolist()] == order[4:]
    assert loader.num_yielded == 0
    assert [n for batch in loader for n in batch.tolist()] == order
    assert list(sampler) == order


def test_a_complete_epoch_is_not_skipped(scenes) -> None:
    data = caption_data(scenes)
    assert len([*data.train_dataloader()]) == 5
    assert data.state_dict()["batches"] == 0


def test_a_data_module_continues_after_the_batches_that_its_checkpoint_has_read(scenes) -> None:
    first, early, late = (caption_data(scenes) for _ in range(3))
    expected = [batch.image_id for batch in first.train_dataloader()]
    batches = iter(first.train_dataloader())
    for _ in range(2):
        next(batches)
    early.load_state_dict(first.state_dict())
    loader = late.train_dataloader()  # as schedules do that ask for the number of steps
    late.load_state_dict(first.state_dict())
    for resumed in (early.train_dataloader(), loader):
        assert [batch.image_id for batch in resumed] == expected[2:]
        assert [batch.image_id for batch in resumed] == expected


@pytest.mark.parametrize(
    ("saved", "message"),
    [({"batch_size": 2}, "data.batch_size=2, not 5"), ({"world_size": 2}, r"processes .*=2, not 1")],
)
def test_an_epoch_cannot_be_continued_with_other_batches(scenes, saved, message) -> None:
    data = caption_data(scenes)
    state = {**data.state_dict(), **saved}
    data.load_state_dict(state)  # between epochs
    with pytest.raises(InputError, match=message):
        data.load_state_dict({**state, "batches": 1})


def test_caption_batches_hold_the_regions_of_their_images(scenes) -> None:
    data = caption_data(scenes, geometry=2.0)
    assert data.sizes == {"feature_size": 17, "vocabulary_size": len(data.vocabulary)}
    seen = []
    for batch in data.train_dataloader():
        seen += batch.image_id
        for n, image_id in enumerate(batch.image_id):
            stored = data.store[image_id]
            assert int(batch.regions.mask[n].sum()) == len(stored)
            np.testing.assert_array_equal(batch.regions.features[n, : len(stored), :12], stored.features)
            text = data.vocabulary.decode(batch.words[n, 0].tolist())
            assert text == data.vocabulary.tokenize(batch.references[n][0])[:16]
    assert sorted(seen) == sorted(data.train_set.image_ids)


def test_question_batches_hold_soft_scores(scenes) -> None:
    data = vqa_data(scenes)
    batch = first_batch(data, "val")
    annotations = read_annotations(scenes / "annotations_val.json")
    for n, question_id in enumerate(batch.question_id):
        expected = data.answers.soft_scores(annotations[question_id].answers)
        found = {int(i): float(batch.targets[n, i]) for i in batch.targets[n].nonzero()}
        assert found == pytest.approx(expected)
    assert batch.words.shape == (9, 14)


def test_images_without_features_are_reported_before_training(scenes, tmp_path) -> None:
    some = write_store(tmp_path / "few.h5", {1000000: regions(3)})
    with pytest.raises(InputError, match=r"few.h5: 23 of 24 images of .*captions_train.json have no regions"):
        caption_data(scenes, features=str(some))
    with pytest.raises(InputError, match=r"few.h5: .* of .*questions_train.json have no regions"):
        vqa_data(scenes, features=str(some))


def test_too_large_min_answer_count_is_reported(scenes) -> None:
    with pytest.raises(InputError, match="smaller data.answers.min_count"):
        vqa_data(scenes, min_answer_count=10_000)
