"""Questions of Visual Genome as additional training data (Kim et al. 2018, Bilinear Attention Networks).

::

    question_answers.json  [{"id": 1, "qas": [{"qa_id": 986768, "image_id": 1, "question": "What is it?",
                                               "answer": "A clock."}, ...]}, ...]

Questions about training images are used if their single answer is in the answer list.
"""

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TypedDict

from bua.data.genome.source import read_images
from bua.data.vqa.files.annotation_list import AnnotationList
from bua.data.vqa.files.question_file import QuestionFile, make_annotation
from bua.errors import InputError
from bua.io.json_stream import elements
from bua.io.schema import Integer, is_valid_record
from bua.structures.annotations import ImageId
from bua.text.answers import AnswerVocabulary, normalize


class _Question(TypedDict):
    qa_id: Integer
    image_id: Integer
    question: str
    answer: str


def read_visual_genome(
    path: Path | str, image_data: Path | str, images: Collection[ImageId], answers: AnswerVocabulary
) -> tuple[QuestionFile, str]:
    """Read the usable questions, and count the others.

    Args:
        path: Visual Genome's question_answers.json.
        image_data: Visual Genome's image_data.json, which has the COCO ids of its images.
        images: COCO ids of the images to train on.
        answers: Known answers.

    Returns:
        The questions, whose ids are their negated ``qa_id`` so that they differ from those of VQA, and a line
        of counts.

    Raises:
        InputError: If a file is broken, a question is duplicated or about an image that is not in
            ``image_data``, or no question is usable.
    """

    def on_mistake(mistake: str) -> None:
        raise InputError(f"{path}: {mistake}")

    coco = {image.image_id: image.coco_id for image in read_images(Path(image_data)).values()}
    ids: dict[int, ImageId] = {}
    texts, annotations, unused = list[str](), AnnotationList(), Counter[str]()
    for position, record in enumerate(elements(Path(path))):
        listed = record.get("qas") if isinstance(record, dict) else None
        if not isinstance(listed, list):
            on_mistake(f"entry {position} has no list qas")
        for number, qa in enumerate(listed or []):
            is_valid_record(qa, f"entry {position}: qas[{number}]", _Question, on_mistake)
            question_id = -qa["qa_id"]
            if question_id in ids:
                on_mistake(f"question {qa['qa_id']} is duplicated")
            if qa["image_id"] not in coco:
                on_mistake(
                    f"question {qa['qa_id']} is about image {qa['image_id']}, which is not in {image_data}"
                )
            image_id = coco[qa["image_id"]]
            if reason := _reason_to_skip(image_id, qa, images, answers):
                unused[reason] += 1
            elif image_id is not None:
                ids[question_id] = image_id
                texts.append(qa["question"])
                annotations.append(make_annotation([qa["answer"]], None, None))
    if not ids:
        on_mistake(f"no question is usable: {_describe(unused)}")
    file = QuestionFile(Path(path), "Visual Genome", list(ids), list(ids.values()), texts, annotations)
    return file, f"{path}: {len(ids):,} questions are used for training, others are not: {_describe(unused)}"


def _reason_to_skip(
    image_id: ImageId | None, qa: dict[str, str], images: Collection[ImageId], answers: AnswerVocabulary
) -> str:
    """Return why a question cannot be used, or an empty string."""
    if image_id is None:
        return "about images outside COCO"
    if image_id not in images:
        return "about images outside the training data"
    if answers.index(normalize(qa["answer"])) is None:
        return "with an unknown answer"
    return "" if qa["question"].strip() else "without words"


def _describe(unused: Counter[str]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in unused.most_common()) or "none"
