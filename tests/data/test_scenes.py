"""The synthetic data set: reproducible, consistent with its images, and in the formats of real data."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bua.data.captions.files import read_captions
from bua.data.scenes import draw
from bua.data.scenes.captions import NOUNS, plural
from bua.data.scenes.draw import SILHOUETTES, compose, silhouette
from bua.data.scenes.world import (
    ATTRIBUTES,
    CANVAS,
    COLORS,
    KINDS,
    MIN_VISIBLE,
    NOVEL_PAIRS,
    SIZES,
    TEXTURES,
    SceneObject,
    relation,
    sample_object,
)
from bua.data.scenes.write import make_scene, write_scenes
from bua.data.vqa.files.read import read_annotations, read_questions
from bua.metrics.grounding import iou
from bua.text.tokenize import karpathy

SPLITS = ["train", "val", "test", "novel"]


@pytest.fixture(scope="module")
def sample():
    return [make_scene(n, seed=3, novel=n % 4 == 3, questions=6, folder=None) for n in range(60)]


def test_the_world_has_the_documented_variety() -> None:
    assert len(KINDS) >= 12
    assert (len(COLORS), len(SIZES), len(TEXTURES)) == (8, 3, 2)
    assert set(SILHOUETTES) == set(KINDS) == set(NOUNS)


def test_silhouettes_are_distinct() -> None:
    def visible(kind: str) -> np.ndarray:
        return silhouette(SceneObject(kind, "red", "large", "plain", (80, 80), 70, 0, False)) > 0.5

    masks = {kind: visible(kind) for kind in KINDS}
    for a in KINDS:
        for b in KINDS:
            if a < b:
                union = (masks[a] | masks[b]).sum()
                assert (masks[a] & masks[b]).sum() / union < 0.9, (a, b)


def test_a_scene_in_which_nothing_else_fits_ends_after_60_attempts(monkeypatch) -> None:
    attempts = []

    def same_place(rng: np.random.Generator, novel: bool) -> SceneObject:
        attempts.append(novel)
        return SceneObject("box", "red", "large", "plain", (80, 80), 70, 0, False)

    monkeypatch.setattr(draw, "sample_object", same_place)
    objects, masks = compose(np.random.default_rng(0), novel=True)
    assert (len(objects), len(masks), len(attempts)) == (1, 1, 60)
    assert attempts[0]  # the first object has a novel pair, later ones rarely
    assert 5 < sum(attempts[1:]) < 30


@pytest.mark.parametrize(("color", "texture"), [((0, 0, 0), "striped"), ((255, 255, 255), "plain")])
def test_colors_at_either_end_do_not_wrap_around(color, texture, monkeypatch) -> None:
    monkeypatch.setitem(draw.RGB, "red", color)
    box = SceneObject("box", "red", "large", texture, (80, 80), 120, 0, False)
    mask = silhouette(box)
    image = np.asarray(draw.paint(np.random.default_rng(0), [box], mask[None]), np.int64)
    inside = image[40:80, 40:80]  # the lit quarter
    assert np.abs(inside - color).max() < 60
    assert (inside == color).all(-1).any()


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_processes(tmp_path) -> None:
    def digests(folder: Path, workers: int, seed: int) -> dict[str, str]:
        counts = {"train": 3, "val": 1, "test": 1, "novel": 1}
        write_scenes(
            folder, seed=seed, counts=counts, questions=4, num_workers=workers, report=lambda line: None
        )
        return {
            p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.rglob("*"))
            if p.is_file()
        }

    first = digests(tmp_path / "a", 1, 1)
    assert len(first) == 6 + 4 * 7 + 1 + 3
    assert first == digests(tmp_path / "b", 2, 1)
    assert first["images/000001000000.jpg"] != digests(tmp_path / "c", 1, 2)["images/000001000000.jpg"]


def test_every_written_split_is_reported(tmp_path) -> None:
    lines: list[str] = []
    counts = {"train": 2, "val": 0, "novel": 1}
    write_scenes(tmp_path, seed=0, counts=counts, questions=4, num_workers=1, report=lines.append)
    assert lines == [
        "train: 2 images, 10 captions, 8 questions",
        "novel: 1 images, 5 captions, 4 questions",
    ]


def test_objects_are_visible_and_their_boxes_are_tight(sample) -> None:
    for n in range(20):
        objects, masks = compose(np.random.default_rng([1, n]), novel=False)
        assert 3 <= len(objects) <= 8
        assert all(o.visible >= MIN_VISIBLE for o in objects)
        front = masks[-1] > 0.5
        x1, y1, x2, y2 = map(int, objects[-1].box)
        assert front[y1:y2, x1:x2].sum() == front.sum()
        assert front[y1].any()
        assert front[:, x2 - 1].any()


def test_held_out_pairs_appear_in_every_novel_image_and_nowhere_else(sample) -> None:
    for scene in sample:
        pairs = [(o.kind, o.color) in NOVEL_PAIRS for o in scene.objects]
        assert any(pairs) == (scene.image_id % 4 == 3)
    assert {kind for kind, _ in NOVEL_PAIRS} == set(KINDS)


def test_sizes_do_not_overlap() -> None:
    rng = np.random.default_rng(0)
    objects = [sample_object(rng, novel=False) for _ in range(300)]
    largest = {size: max(o.extent for o in objects if o.size == size) for size in SIZES}
    smallest = {size: min(o.extent for o in objects if o.size == size) for size in SIZES}
    assert largest["small"] < smallest["medium"]
    assert largest["medium"] < smallest["large"]


def test_relations_are_antisymmetric(sample) -> None:
    opposite = {"left of": "right of", "above": "below", "in front of": "behind"}
    opposite |= {b: a for a, b in opposite.items()}
    for scene in sample:
        a, b = scene.objects[0], scene.objects[1]
        assert opposite[relation(a, b, in_front=False)] == relation(b, a, in_front=True)


def test_the_five_captions_of_an_image_are_mostly_different(sample) -> None:
    assert all(len(scene.captions) == 5 for scene in sample)
    texts = [c.text for scene in sample for c in scene.captions]
    assert len(set(texts)) > 0.95 * len(texts)
    assert sum(len({c.text for c in s.captions}) == 5 for s in sample) > 0.8 * len(sample)
    lengths = {len(text.split()) for text in texts}
    assert min(lengths) >= 4
    assert max(lengths) <= 24


def test_nouns_refer_to_boxes_of_objects_of_their_kind(sample) -> None:
    checked = 0
    for scene in sample:
        for caption in scene.captions:
            tokens = karpathy(caption.text)
            for word in caption.groundings(scene.objects):
                assert tokens[word["position"]] == word["word"]
                kinds = [k for k, nouns in NOUNS.items() for n in nouns if word["word"] in (n, plural(n))]
                for box in word["boxes"]:
                    assert [o.kind for o in scene.objects if list(o.box) == box] == kinds
                    checked += 1
    assert checked > 500


def test_mentioned_colors_are_those_of_the_object(sample) -> None:
    for scene in sample:
        for caption in scene.captions:
            tokens = karpathy(caption.text)
            for word in caption.groundings(scene.objects):
                adjective = tokens[word["position"] - 1]
                if adjective in COLORS:
                    boxes = word["boxes"]
                    assert {o.color for o in scene.objects if list(o.box) in boxes} == {adjective}


def test_questions_have_all_types_and_ten_imperfect_annotators(sample) -> None:
    questions = [q for scene in sample for q in scene.questions]
    types = Counter(q.answer_type for q in questions)
    assert set(types) == {"yes/no", "number", "other"}
    assert min(types.values()) > 0.2 * len(questions)
    assert all(len(q.answers) == 10 for q in questions)
    agreement = np.mean([Counter(q.answers).most_common(1)[0][1] / 10 for q in questions])
    assert 0.8 < agreement < 0.98
    assert len({q.question_type for q in questions}) >= 6
    for scene in sample:
        assert len({q.text for q in scene.questions}) == len(scene.questions) == 6


def test_questions_refer_to_the_objects_that_they_mention(sample) -> None:
    """Objects of every mentioned kind, or color where it identifies an object, are among the referents."""
    checked = Counter()
    for scene in sample:
        boxes = [list(o.box) for o in scene.objects]
        for q in scene.questions:
            words = karpathy(q.text)
            assert [box for box in q.boxes if box not in boxes] == []
            kinds = [k for k, nouns in NOUNS.items() if {f for n in nouns for f in (n, plural(n))} & {*words}]
            named = {o.kind for o in scene.objects} & {*kinds}
            if words[:2] != ["is", "there"]:
                assert named <= {o.kind for o in q.referents}, q.text
            if words[:2] == ["how", "many"]:
                answer, n = Counter(q.answers).most_common(1)[0]
                assert n <= 5 or int(answer) == len(q.referents)
                checked["counted"] += 1
            if words[:3] == ["what", "color", "is"] or words[:2] == ["where", "is"]:
                assert len(q.referents) == 1
                checked["single"] += 1
            if words[:2] == ["is", "there"]:
                pairs = {(o.color, o.kind) for o in q.referents}
                assert pairs <= {(color, kind) for color in COLORS for kind in kinds if color in words}
                checked["exists"] += 1
    assert min(checked[name] for name in ("counted", "single", "exists")) > 10


def test_yes_and_no_are_about_as_frequent(sample) -> None:
    answers = Counter(
        q.annotation()["multiple_choice_answer"]
        for s in sample
        for q in s.questions
        if q.answer_type == "yes/no"
    )
    assert 0.3 < answers["yes"] / (answers["yes"] + answers["no"]) < 0.7


def test_counting_questions_have_the_correct_answer(sample) -> None:
    checked = 0
    for scene in sample:
        for q in scene.questions:
            answer = Counter(q.answers).most_common(1)[0]
            if q.text == "How many things are in the picture?" and answer[1] > 5:
                assert answer[0] == str(len(scene.objects))
                checked += 1
            for color in COLORS:
                if q.text == f"How many {color} things are there?" and answer[1] > 5:
                    assert answer[0] == str(sum(o.color == color for o in scene.objects))
                    checked += 1
    assert checked > 20


@pytest.mark.parametrize("split", SPLITS)
def test_the_readers_of_real_data_read_the_scenes(split: str, scenes) -> None:
    file = read_captions(scenes / f"captions_{split}.json")
    assert all(len(captions) == 5 for captions in file.captions.values())
    questions = read_questions(scenes / f"questions_{split}.json")
    annotations = read_annotations(scenes / f"annotations_{split}.json")
    assert set(annotations) == {q.question_id for q in questions}
    assert len(annotations) == len(questions) == 6 * len(file.captions)
    assert {q.question_id // 1000 for q in questions} == set(file.captions)
    assert all(len(annotation.answers) == 10 for annotation in annotations.values())
    for name in file.file_names.values():
        assert (scenes / "images" / name).is_file()


@pytest.mark.parametrize("split", SPLITS)
def test_pycocotools_reads_instances_that_agree_with_the_visual_genome_files(split: str, scenes) -> None:
    from pycocotools.coco import COCO

    coco = COCO(str(scenes / f"instances_{split}.json"))
    genome = json.loads((scenes / f"attributes_{split}.json").read_text())
    names = {n + 1: name for n, name in enumerate(ATTRIBUTES)}
    ids = [annotation["id"] for annotation in coco.dataset["annotations"]]
    assert len(set(ids)) == len(ids)
    assert coco.getImgIds() == sorted(image["image_id"] for image in genome)
    for image in genome:
        annotations = coco.loadAnns(coco.getAnnIds(image["image_id"]))
        assert len(annotations) == len(image["attributes"])
        for a, record in zip(annotations, image["attributes"], strict=True):
            assert a["bbox"] == [record["x"], record["y"], record["w"], record["h"]]
            assert coco.cats[a["category_id"]]["name"] == record["names"][0]
            assert [names[i] for i in a["attribute_ids"]] == record["attributes"]


def test_boxes_lie_in_the_image(sample) -> None:
    for scene in sample:
        boxes = np.array([o.box for o in scene.objects])
        assert boxes.min() >= 0
        assert boxes.max() <= CANVAS
        assert np.allclose(np.diag(iou(boxes, boxes)), 1)
