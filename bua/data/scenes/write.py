"""Writing the synthetic data set in the formats of the real ones.

For every split: COCO captions and instances, VQA v2 questions and annotations, Visual Genome
attributes, and two files of ``groundings``: the boxes that the words of the captions name, and those
that a question is about. The folder ``genome`` holds all splits together in the official files of
Visual Genome.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from bua.data.scenes.captions import Caption, describe
from bua.data.scenes.draw import compose, paint
from bua.data.scenes.genome import attributes_entry, genome_files
from bua.data.scenes.questions import Question, ask
from bua.data.scenes.world import ATTRIBUTES, CANVAS, KINDS, NOVEL_PAIRS, SceneObject
from bua.errors import InputError
from bua.io.json_file import read_json

#: Splits and the first image id of each.
SPLITS = {"train": 1_000_000, "val": 2_000_000, "test": 3_000_000, "novel": 4_000_000}
CAPTIONS = 5


@dataclass(frozen=True)
class Scene:
    """One picture with everything that is said about it."""

    image_id: int
    things: list[SceneObject]
    captions: list[Caption]
    questions: list[Question]

    @property
    def file_name(self) -> str:
        """Name of the picture, as COCO names its own."""
        return f"{self.image_id:012d}.jpg"


def make_scene(image_id: int, *, seed: int, novel: bool, questions: int, folder: Path | None) -> Scene:
    """Make one scene from seed and id alone and, given a folder, save its picture there."""
    rng = np.random.default_rng([seed, image_id])
    things, masks = compose(rng, novel)
    picture = paint(rng, things, masks)
    if folder is not None:
        picture.save(folder / f"{image_id:012d}.jpg", quality=92)
    captions = [describe(rng, things) for _ in range(CAPTIONS)]
    return Scene(image_id, things, captions, ask(rng, things, questions))


def write_scenes(
    out: Path,
    *,
    seed: int,
    counts: dict[str, int],
    questions: int,
    workers: int,
    report: Callable[[str], None],
) -> None:
    """Write the data set to ``out``; the same arguments give the same bytes.

    Args:
        out: folder, made if it is not there.
        seed: of everything.
        counts: pictures of each split; a split of none is not written.
        questions: questions a picture.
        workers: processes that draw.
        report: called with a line for every split.

    Raises:
        InputError: the folder holds scenes made with other arguments.
    """
    options = {"seed": seed, "counts": dict(counts), "questions": questions}
    metadata = out / "scenes.json"
    if metadata.exists() and {k: read_json(metadata).get(k) for k in options} != options:
        raise InputError(f"{out}: holds scenes made with other options; delete it or give another out")
    (out / "images").mkdir(parents=True, exist_ok=True)
    (out / "genome").mkdir(exist_ok=True)
    attributes: list[dict[str, Any]] = []
    for split, count in counts.items():
        if not count:
            continue
        ids = range(SPLITS[split], SPLITS[split] + count)
        make = partial(
            make_scene, seed=seed, novel=split == "novel", questions=questions, folder=out / "images"
        )
        scenes = _map(make, ids, workers)
        contents = _files(split, scenes)
        for name, content in contents.items():
            _write_json(out / f"{name}_{split}.json", content)
        attributes += contents["attributes"]
        report(f"{split}: {count} pictures, {count * CAPTIONS} captions, {count * questions} questions")
    for name, content in genome_files(attributes, "images").items():
        _write_json(out / "genome" / f"{name}.json", content)
    files = sorted(out.glob("*_*.json"))
    _write_json(
        metadata,
        {
            **options,
            "novel_pairs": [list(pair) for pair in NOVEL_PAIRS],
            "sha256": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files},
        },
    )


def _map(make: Callable[[int], Scene], ids: Iterable[int], workers: int) -> list[Scene]:
    if workers <= 1:
        return [make(image_id) for image_id in ids]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(make, ids, chunksize=32))


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, allow_nan=False, separators=(",", ":")), encoding="utf-8")


def _files(split: str, scenes: list[Scene]) -> dict[str, Any]:
    """Return the content of every annotation file of a split, by its name without the split."""
    info = {"description": "bua scenes", "version": "1"}
    images = [{"id": s.image_id, "file_name": s.file_name, "height": CANVAS, "width": CANVAS} for s in scenes]
    subtype = {"data_type": "scenes", "data_subtype": split}
    return {
        "captions": {
            "info": info,
            "images": images,
            "annotations": [
                {"id": s.image_id * 10 + n, "image_id": s.image_id, "caption": caption.text}
                for s in scenes
                for n, caption in enumerate(s.captions)
            ],
        },
        "groundings": [
            {"id": s.image_id * 10 + n, "image_id": s.image_id, "words": caption.groundings(s.things)}
            for s in scenes
            for n, caption in enumerate(s.captions)
        ],
        "instances": {
            "info": info,
            "images": images,
            "categories": [{"id": n + 1, "name": kind} for n, kind in enumerate(KINDS)],
            "attributes": [{"id": n + 1, "name": name} for n, name in enumerate(ATTRIBUTES)],
            "annotations": [_instance(s, n) for s in scenes for n in range(len(s.things))],
        },
        "attributes": [attributes_entry(s.image_id, s.things) for s in scenes],
        "questions": {
            "info": info,
            "task_type": "Open-Ended",
            **subtype,
            "questions": [
                {"question_id": s.image_id * 1000 + n, "image_id": s.image_id, "question": q.text}
                for s in scenes
                for n, q in enumerate(s.questions)
            ],
        },
        "question_groundings": [
            {"question_id": s.image_id * 1000 + n, "image_id": s.image_id, "boxes": q.boxes}
            for s in scenes
            for n, q in enumerate(s.questions)
        ],
        "annotations": {
            "info": info,
            **subtype,
            "annotations": [
                {"question_id": s.image_id * 1000 + n, "image_id": s.image_id, **q.annotation()}
                for s in scenes
                for n, q in enumerate(s.questions)
            ],
        },
    }


def _instance(scene: Scene, n: int) -> dict[str, Any]:
    """Return thing ``n`` as a COCO annotation with the ids of its attributes."""
    thing = scene.things[n]
    x1, y1, x2, y2 = thing.box
    return {
        "id": scene.image_id * 10 + n,
        "image_id": scene.image_id,
        "category_id": KINDS.index(thing.kind) + 1,
        "attribute_ids": [ATTRIBUTES.index(a) + 1 for a in thing.attributes],
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": thing.area,
        "iscrowd": 0,
    }
