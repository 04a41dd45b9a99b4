"""Whatever a value in a JSON file is replaced by, its reader ends with a line about it or with a result."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bua.data.captions.constraints import read_constraints
from bua.data.captions.files.caption_file import read_caption_file
from bua.data.detection.dataset import DetectionDataset
from bua.data.genome.source import read_attributes, read_images, read_objects
from bua.data.genome.splits import read_karpathy
from bua.data.predictions import read_predictions
from bua.data.vqa.files.read import read_question_file
from bua.data.vqa.pairs import read_pairs
from bua.detectors.given_boxes import read_given_boxes
from bua.detectors.photo_files import find_photos
from bua.engine.run_directory import RunDirectory
from bua.errors import InputError
from bua.inference.attention_maps import read_groundings, read_question_groundings
from bua.store.formats.image_sizes import ImageSizes
from bua.text.answer_lists import read_answer_list
from bua.text.answers import AnswerVocabulary
from bua.text.names import read_names
from bua.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(["a", "cat"], "karpathy")
COCO = {
    "images": [
        {"id": 1, "file_name": "1.jpg", "width": 9, "height": 8},
        {"id": 2, "file_name": "2.jpg", "width": 9, "height": 9},
    ],
    "categories": [{"id": 3, "name": "cat"}],
    "attributes": [{"id": 5, "name": "red"}],
    "annotations": [
        {
            "id": 7,
            "image_id": 1,
            "category_id": 3,
            "bbox": [1, 1, 3, 3],
            "iscrowd": 0,
            "attribute_ids": [5],
            "caption": "a cat",
        }
    ],
}
KARPATHY = {
    "images": [
        {
            "imgid": n,
            "cocoid": n,
            "filename": f"{n}.jpg",
            "filepath": "val2014",
            "split": split,
            "sentences": [{"raw": "a", "sentid": n}],
        }
        for n, split in enumerate(("val", "test"), 1)
    ]
}
VQA = {
    "questions": [{"question_id": 1, "image_id": 9, "question": "What?"}],
    "annotations": [
        {"question_id": 1, "answers": [{"answer": "cat"}], "answer_type": "other", "question_type": "what"}
    ],
}
VIZWIZ = [{"image": "a.jpg", "question": "What?", "answers": [{"answer": "basil"}], "answer_type": "other"}]
GQA = {
    "02": {
        "imageId": "2",
        "question": "Is it?",
        "answer": "yes",
        "types": {"structural": "verify"},
        "isBalanced": True,
    }
}
AOKVQA = [{"question_id": "x", "image_id": 2, "question": "Why?", "direct_answers": ["so"]}]
GENOME_IMAGE = [{"image_id": 1, "width": 9, "height": 9, "url": "http://a/VG/1.jpg", "coco_id": None}]
GENOME_OBJECTS = [
    {"image_id": 1, "objects": [{"object_id": 2, "names": ["cat"], "x": 1, "y": 2, "w": 3, "h": 4}]}
]
GENOME_ATTRIBUTES = [{"image_id": 1, "attributes": [{"object_id": 2, "attributes": ["red"]}]}]


def detection(path: Path) -> Any:
    return DetectionDataset(path, path.parent, flip=False)


def genome_objects(path: Path) -> Any:
    (path.parent / "image_data.json").write_text(json.dumps(GENOME_IMAGE))
    return list(read_objects(path, read_images(path.parent / "image_data.json")))


def run_files(path: Path) -> Any:
    (path.parent / "config.yaml").write_text(path.read_text())
    (path.parent / "status.json").write_text(path.read_text())
    run = RunDirectory(path.parent)
    return run.metrics(), run.state(), run.config()


READERS: dict[str, tuple[Callable[[Path], Any], Any]] = {
    "captions of COCO": (read_caption_file, COCO),
    "captions of Karpathy": (read_caption_file, KARPATHY),
    "captions in an object": (read_caption_file, {"1": ["a cat"], "2": "a dog"}),
    "captions in a list": (
        read_caption_file,
        [{"image_id": 1, "caption": "a"}, {"image_id": 2, "captions": ["c"]}],
    ),
    "VQA v2": (read_question_file, VQA),
    "VizWiz": (read_question_file, VIZWIZ),
    "GQA": (read_question_file, GQA),
    "A-OKVQA": (read_question_file, AOKVQA),
    "instances": (detection, COCO),
    "given boxes of COCO": (read_given_boxes, COCO),
    "given boxes in a list": (read_given_boxes, [{"image_id": 1, "boxes": [[1, 2, 3, 4]]}]),
    "images": (lambda path: find_photos(str(path), str(path.parent)), COCO),
    "image sizes": (ImageSizes, COCO),
    "predictions": (
        lambda path: read_predictions(path, "image_id", "caption"),
        [{"image_id": 1, "caption": "a"}],
    ),
    "pairs": (read_pairs, [[1, 2], ["a", "b"]]),
    "groundings": (read_groundings, [{"image_id": 1, "words": [{"position": 0, "boxes": [[1, 2, 3, 4]]}]}]),
    "question groundings": (read_question_groundings, [{"question_id": 1, "boxes": [[1, 2, 3, 4]]}]),
    "answer list": (read_answer_list, ["yes", "no"]),
    "answers to indices": (read_answer_list, [{"yes": 0, "no": 1}, {"0": "yes", "1": "no"}]),
    "answers": (AnswerVocabulary.load, AnswerVocabulary(["yes"], ["yes"]).to_dict()),
    "vocabulary": (Vocabulary.load, VOCABULARY.to_dict()),
    "constraints": (lambda path: read_constraints(path, VOCABULARY, print), {"1": [["cat", "a"], "a cat"]}),
    "names": (lambda path: read_names(path, "label"), {"label_to_idx": {"cat": 1, "dog": 2}}),
    "Visual Genome's images": (read_images, GENOME_IMAGE),
    "Visual Genome's objects": (genome_objects, GENOME_OBJECTS),
    "Visual Genome's attributes": (lambda path: list(read_attributes(path)), GENOME_ATTRIBUTES),
    "splits": (read_karpathy, KARPATHY),
    "a run": (
        run_files,
        {
            "state": "done",
            "metrics": {"a": 1.0},
            "data": {},
            "model": {},
            "objective": {},
            "trainer": {},
            "seed": 1,
        },
    ),
}
#: Values that tools, crashes and attackers write in the place of others.
ODD: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**63, 10**30, 1.5, 1e300, float("nan"), float("inf"), "", "1", "a/../b",
    "\ud800", "\x00", [], {}, [None], [[]], {"id": None}, {"": ""},
]  # fmt: skip


def places(content: Any) -> list[tuple[Any, ...]]:
    """Return the path of every value in a JSON value, the whole first."""
    items = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    return [(), *((key, *path) for key, value in items for path in places(value))]


def changed(content: Any, place: tuple[Any, ...], value: Any, remove: bool) -> Any:
    """Return a copy in which one value is replaced or removed."""
    if not place:
        return value
    copied = copy.deepcopy(content)
    parent = copied
    for key in place[:-1]:
        parent = parent[key]
    if remove:
        del parent[place[-1]]
    else:
        parent[place[-1]] = value
    return copied


@pytest.mark.parametrize("name", READERS)
def test_a_valid_file_is_read(name, tmp_path) -> None:
    read, content = READERS[name]
    (tmp_path / "file.json").write_text(json.dumps(content))
    read(tmp_path / "file.json")


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_refused_in_one_line_or_read(name, tmp_path, data) -> None:
    read, content = READERS[name]
    place = data.draw(st.sampled_from(places(content)))
    damaged = changed(content, place, data.draw(st.sampled_from(ODD)), data.draw(st.booleans()))
    (tmp_path / "file.json").write_text(json.dumps(damaged))
    try:
        read(tmp_path / "file.json")
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_every_reader_is_tried() -> None:
    assert len(READERS) == 28
