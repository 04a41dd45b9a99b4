"""The synthetic data set: always the same, read by the readers of real data, true to its pictures."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bua.data.captions.files import read_captions
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
    sample_thing,
)
from bua.data.scenes.write import make_scene, write_scenes
from bua.data.vqa.files.plain_values import read_vqa
from bua.metrics.grounding import iou
from bua.text.tokenize import karpathy

SPLITS = ["train", "val", "test", "novel"]


@pytest.fixture(scope="module")
def some():
    return [make_scene(n, seed=3, novel=n % 4 == 3, questions=6, folder=None) for n in range(60)]


def test_the_world_is_as_rich_as_promised() -> None:
    assert len(KINDS) >= 12
    assert (len(COLORS), len(SIZES), len(TEXTURES)) == (8, 3, 2)
    assert set(SILHOUETTES) == set(KINDS) == set(NOUNS)


def test_silhouettes_are_distinct() -> None:
    def drawn(kind: str) -> np.ndarray:
        return silhouette(SceneObject(kind, "red", "large", "plain", (80, 80), 70, 0, False)) > 0.5

    masks = {kind: drawn(kind) for kind in KINDS}
    for a in KINDS:
        for b in KINDS:
            if a < b:
                union = (masks[a] | masks[b]).sum()
                assert (masks[a] & masks[b]).sum() / union < 0.9, (a, b)


def test_the_same_seed_gives_the_same_bytes_also_with_more_processes(tmp_path) -> None:
    def digests(folder: Path, workers: int, seed: int) -> dict[str, str]:
        counts = {"train": 3, "val": 1, "test": 1, "novel": 1}
        write_scenes(folder, seed=seed, counts=counts, questions=4, workers=workers, report=lambda line: None)
        return {
            p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.rglob("*"))
            if p.is_file()
        }

    first = digests(tmp_path / "a", 1, 1)
    assert len(first) == 6 + 4 * 7 + 1 + 3
    assert first == digests(tmp_path / "b", 2, 1)
    assert first["images/000001000000.jpg"] != digests(tmp_path / "c", 1, 2)["images/000001000000.jpg"]


def test_things_can_be_seen_and_their_boxes_are_tight(some) -> None:
    for n in range(20):
        things, masks = compose(np.random.default_rng([1, n]), novel=False)
        assert 3 <= len(things) <= 8
        assert all(t.visible >= MIN_VISIBLE for t in things)
        front = masks[-1] > 0.5
        x1, y1, x2, y2 = map(int, things[-1].box)
        assert front[y1:y2, x1:x2].sum() == front.sum()
        assert front[y1].any()
        assert front[:, x2 - 1].any()


def test_pairs_held_out_appear_in_novel_only_and_in_every_picture_of_it(some) -> None:
    for scene in some:
        pairs = [(t.kind, t.color) in NOVEL_PAIRS for t in scene.things]
        assert any(pairs) == (scene.image_id % 4 == 3)
    assert {kind for kind, _ in NOVEL_PAIRS} == set(KINDS)


def test_sizes_mean_something() -> None:
    rng = np.random.default_rng(0)
    things = [sample_thing(rng, novel=False) for _ in range(300)]
    largest = {size: max(t.extent for t in things if t.size == size) for size in SIZES}
    smallest = {size: min(t.extent for t in things if t.size == size) for size in SIZES}
    assert largest["small"] < smallest["medium"]
    assert largest["medium"] < smallest["large"]


def test_relations_are_antisymmetric(some) -> None:
    opposite = {"left of": "right of", "above": "below", "in front of": "behind"}
    opposite |= {b: a for a, b in opposite.items()}
    for scene in some:
        a, b = scene.things[0], scene.things[1]
        assert opposite[relation(a, b, in_front=False)] == relation(b, a, in_front=True)


def test_five_captions_a_picture_that_are_mostly_different(some) -> None:
    assert all(len(scene.captions) == 5 for scene in some)
    texts = [c.text for scene in some for c in scene.captions]
    assert len(set(texts)) > 0.95 * len(texts)
    assert sum(len({c.text for c in s.captions}) == 5 for s in some) > 0.8 * len(some)
    lengths = {len(text.split()) for text in texts}
    assert min(lengths) >= 4
    assert max(lengths) <= 24


def test_nouns_name_the_boxes_of_things_of_their_kind(some) -> None:
    checked = 0
    for scene in some:
        for caption in scene.captions:
            tokens = karpathy(caption.text)
            for word in caption.groundings(scene.things):
                assert tokens[word["position"]] == word["word"]
                kinds = [k for k, nouns in NOUNS.items() for n in nouns if word["word"] in (n, plural(n))]
                for box in word["boxes"]:
                    assert [t.kind for t in scene.things if list(t.box) == box] == kinds
                    checked += 1
    assert checked > 500


def test_colors_that_are_said_are_those_of_the_thing(some) -> None:
    for scene in some:
        for caption in scene.captions:
            tokens = karpathy(caption.text)
            for word in caption.groundings(scene.things):
                said = tokens[word["position"] - 1]
                if said in COLORS:
                    boxes = word["boxes"]
                    assert {t.color for t in scene.things if list(t.box) in boxes} == {said}


def test_questions_are_of_all_types_with_ten_imperfect_annotators(some) -> None:
    questions = [q for scene in some for q in scene.questions]
    kinds = Counter(q.kind for q in questions)
    assert set(kinds) == {"yes/no", "number", "other"}
    assert min(kinds.values()) > 0.2 * len(questions)
    assert all(len(q.answers) == 10 for q in questions)
    agreement = np.mean([Counter(q.answers).most_common(1)[0][1] / 10 for q in questions])
    assert 0.8 < agreement < 0.98
    assert len({q.prefix for q in questions}) >= 6
    for scene in some:
        assert len({q.text for q in scene.questions}) == len(scene.questions) == 6


def test_questions_are_about_the_things_that_they_name(some) -> None:
    """Every kind, or colour where it tells things apart, that a question says is among its things."""
    checked = Counter()
    for scene in some:
        every = [list(t.box) for t in scene.things]
        for q in scene.questions:
            words = karpathy(q.text)
            assert [box for box in q.boxes if box not in every] == []
            kinds = [k for k, nouns in NOUNS.items() if {f for n in nouns for f in (n, plural(n))} & {*words}]
            named = {t.kind for t in scene.things} & {*kinds}
            if words[:2] != ["is", "there"]:
                assert named <= {t.kind for t in q.about}, q.text
            if words[:2] == ["how", "many"]:
                most, n = Counter(q.answers).most_common(1)[0]
                assert n <= 5 or int(most) == len(q.about)
                checked["counted"] += 1
            if words[:3] == ["what", "color", "is"] or words[:2] == ["where", "is"]:
                assert len(q.about) == 1
                checked["one"] += 1
            if words[:2] == ["is", "there"]:
                pairs = {(t.color, t.kind) for t in q.about}
                assert pairs <= {(color, kind) for color in COLORS for kind in kinds if color in words}
                checked["there"] += 1
    assert min(checked[name] for name in ("counted", "one", "there")) > 10


def test_yes_and_no_are_about_as_frequent(some) -> None:
    said = Counter(
        q.annotation()["multiple_choice_answer"] for s in some for q in s.questions if q.kind == "yes/no"
    )
    assert 0.3 < said["yes"] / (said["yes"] + said["no"]) < 0.7


def test_counting_questions_are_answered_truly(some) -> None:
    checked = 0
    for scene in some:
        for q in scene.questions:
            answer = Counter(q.answers).most_common(1)[0]
            if q.text == "How many things are in the picture?" and answer[1] > 5:
                assert answer[0] == str(len(scene.things))
                checked += 1
            for color in COLORS:
                if q.text == f"How many {color} things are there?" and answer[1] > 5:
                    assert answer[0] == str(sum(t.color == color for t in scene.things))
                    checked += 1
    assert checked > 20


@pytest.mark.parametrize("split", SPLITS)
def test_our_readers_of_real_data_read_it(split: str, scenes) -> None:
    file = read_captions(scenes / f"captions_{split}.json")
    assert all(len(captions) == 5 for captions in file.captions.values())
    questions, answers = read_vqa(scenes / f"questions_{split}.json", scenes / f"annotations_{split}.json")
    assert {q.question_id // 1000 for q in questions} == set(file.captions)
    assert all(len(asked.answers) == 10 for asked in answers.values())
    for name in file.file_names.values():
        assert (scenes / "images" / name).is_file()


@pytest.mark.parametrize("split", SPLITS)
def test_pycocotools_reads_instances_and_visual_genome_style_says_the_same(split: str, scenes) -> None:
    from pycocotools.coco import COCO

    coco = COCO(str(scenes / f"instances_{split}.json"))
    genome = json.loads((scenes / f"attributes_{split}.json").read_text())
    named = {n + 1: name for n, name in enumerate(ATTRIBUTES)}
    assert coco.getImgIds() == sorted(image["image_id"] for image in genome)
    for image in genome:
        annotations = coco.loadAnns(coco.getAnnIds(image["image_id"]))
        assert len(annotations) == len(image["attributes"])
        for a, thing in zip(annotations, image["attributes"], strict=True):
            assert a["bbox"] == [thing["x"], thing["y"], thing["w"], thing["h"]]
            assert coco.cats[a["category_id"]]["name"] == thing["names"][0]
            assert [named[i] for i in a["attribute_ids"]] == thing["attributes"]


def test_boxes_lie_in_the_picture(some) -> None:
    for scene in some:
        boxes = np.array([t.box for t in scene.things])
        assert boxes.min() >= 0
        assert boxes.max() <= CANVAS
        assert np.allclose(np.diag(iou(boxes, boxes)), 1)
