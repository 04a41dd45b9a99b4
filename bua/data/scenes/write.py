"""Write the synthetic data set in the formats of the real ones.

The files of a split are COCO captions and instances, VQA v2 questions and annotations, Visual Genome
attributes, and two files of groundings: the boxes of the objects that the words of captions refer to,
and of those that questions are about. The folder ``genome`` holds the official Visual Genome files for
all splits together.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bua.data.scenes.captions import Caption, generate_caption
from bua.data.scenes.draw import compose, paint
from bua.data.scenes.genome import attributes_entry, genome_files
from bua.data.scenes.questions import SceneQuestion, generate_questions
from bua.data.scenes.world import ATTRIBUTES, CANVAS, KINDS, NOVEL_PAIRS, SceneObject
from bua.errors import InputError
from bua.io.files import file_sha256, read_json
from bua.io.processes import map_in_processes
from bua.io.write import save_image, write_text

#: First image id of each split.
SPLITS = {"train": 1_000_000, "val": 2_000_000, "test": 3_000_000, "novel": 4_000_000}
#: Number of captions per image.
CAPTIONS = 5


@dataclass(frozen=True)
class Scene:
    """An image with its objects, captions and questions."""

    image_id: int
    objects: list[SceneObject]
    captions: list[Caption]
    questions: list[SceneQuestion]

    @property
    def file_name(self) -> str:
        """File name of the image, in the style of COCO."""
        return f"{self.image_id:012d}.jpg"


def make_scene(image_id: int, *, seed: int, novel: bool, questions: int, folder: Path | None) -> Scene:
    """Generate a scene, which depends on no other scene, and save its image.

    Args:
        image_id: Id of the image.
        seed: Seed of the data set.
        novel: Whether to include held-out pairs of kind and color.
        questions: Number of questions.
        folder: Folder to save the image to; ``None`` to save no image.
    """
    rng = np.random.default_rng([seed, image_id])
    objects, masks = compose(rng, novel)
    image = paint(rng, objects, masks)
    if folder is not None:
        save_image(image, folder / f"{image_id:012d}.jpg", quality=92)
    captions = [generate_caption(rng, objects) for _ in range(CAPTIONS)]
    return Scene(image_id, objects, captions, generate_questions(rng, objects, questions))


def write_scenes(
    out: Path,
    *,
    seed: int,
    counts: dict[str, int],
    questions: int,
    num_workers: int,
    report: Callable[[str], None],
) -> None:
    """Write the data set; the same arguments give the same bytes.

    Args:
        out: Folder to write to; created if it does not exist.
        seed: Seed of all randomness.
        counts: Number of images of each split; empty splits are not written.
        questions: Number of questions per image.
        num_workers: Number of processes that draw.
        report: Called with one line for every split.

    Raises:
        InputError: If the folder holds scenes that were generated with other options.
    """
    options = {"seed": seed, "counts": dict(counts), "questions": questions}
    metadata = out / "scenes.json"
    if metadata.exists() and {k: read_json(metadata).get(k) for k in options} != options:
        raise InputError(
            f"{out}: contains scenes generated with other options; delete it or choose another out"
        )
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
        scenes = map_in_processes(make, ids, num_workers)
        contents = _files(split, scenes)
        for name, content in contents.items():
            _write_json(out / f"{name}_{split}.json", content)
        attributes += contents["attributes"]
        report(f"{split}: {count} images, {count * CAPTIONS} captions, {count * questions} questions")
    for name, content in genome_files(attributes, "images").items():
        _write_json(out / "genome" / f"{name}.json", content)
    files = sorted(out.glob("*_*.json"))
    _write_json(
        metadata,
        {
            **options,
            "novel_pairs": [list(pair) for pair in NOVEL_PAIRS],
            "sha256": {p.name: file_sha256(p) for p in files},
        },
    )


def _write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, allow_nan=False, separators=(",", ":")))


def _files(split: str, scenes: list[Scene]) -> dict[str, Any]:
    """Return the content of every annotation file of a split, by file name without the split."""
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
            {"id": s.image_id * 10 + n, "image_id": s.image_id, "words": caption.groundings(s.objects)}
            for s in scenes
            for n, caption in enumerate(s.captions)
        ],
        "instances": {
            "info": info,
            "images": images,
            "categories": [{"id": n + 1, "name": kind} for n, kind in enumerate(KINDS)],
            "attributes": [{"id": n + 1, "name": name} for n, name in enumerate(ATTRIBUTES)],
            "annotations": [_instance(s, n) for s in scenes for n in range(len(s.objects))],
        },
        "attributes": [attributes_entry(s.image_id, s.objects) for s in scenes],
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
    """Return object ``n`` as a COCO annotation with the ids of its attributes."""
    scene_object = scene.objects[n]
    x1, y1, x2, y2 = scene_object.box
    return {
        "id": scene.image_id * 10 + n,
        "image_id": scene.image_id,
        "category_id": KINDS.index(scene_object.kind) + 1,
        "attribute_ids": [ATTRIBUTES.index(a) + 1 for a in scene_object.attributes],
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": scene_object.area,
        "iscrowd": 0,
    }
