"""Questions of Visual Genome as more questions to train on (Kim et al. 2018, Bilinear Attention Networks).

::

    question_answers.json  [{"id": 1, "qas": [{"qa_id": 986768, "image_id": 1, "question": "What is it?",
                                               "answer": "A clock."}, ...]}, ...]

Of those on the images that are trained on, the ones are taken whose single answer is one that a model
can choose.
"""

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from bua.data.genome.source import read_pictures
from bua.data.vqa.files.answers import AnnotationList
from bua.data.vqa.files.entry import make_annotation
from bua.data.vqa.files.file import QuestionFile
from bua.errors import InputError
from bua.io.json_file import Types, is_valid_record
from bua.io.json_stream import elements
from bua.store.reader import ImageId
from bua.text.answers import AnswerVocabulary, normalize

_QUESTION: Types = {"qa_id": int, "image_id": int, "question": str, "answer": str}


def read_genome(
    path: Path | str, pictures: Path | str, images: Collection[ImageId], answers: AnswerVocabulary
) -> tuple[QuestionFile, str]:
    """Read the questions that are of use, and say how many there are and how many others.

    Args:
        path: question_answers.json.
        pictures: image_data.json, which knows the number in COCO of an image.
        images: COCO's numbers of the images that are trained on.
        answers: that can be chosen.

    Returns:
        The questions, named by their ``qa_id`` with a minus before it, so that no question of VQA has
        the same name; and a line of counts.

    Raises:
        InputError: a file is broken, a question comes twice, its image is not one of the pictures, or
            none is of use.
    """

    def stop(mistake: str) -> None:
        raise InputError(f"{path}: {mistake}")

    coco = {picture.image_id: picture.coco_id for picture in read_pictures(Path(pictures)).values()}
    ids: dict[int, ImageId] = {}
    texts, asked, left = list[str](), AnnotationList(), Counter[str]()
    for position, record in enumerate(elements(Path(path))):
        listed = record.get("qas") if isinstance(record, dict) else None
        if not isinstance(listed, list):
            stop(f"entry {position} has no list qas")
        for number, qa in enumerate(listed or []):
            is_valid_record(qa, f"entry {position}: qas[{number}]", _QUESTION, stop)
            question_id = -qa["qa_id"]
            if question_id in ids:
                stop(f"question {qa['qa_id']} comes twice")
            if qa["image_id"] not in coco:
                stop(f"question {qa['qa_id']} is on image {qa['image_id']}, which is not in {pictures}")
            image_id = coco[qa["image_id"]]
            if why := _use(image_id, qa, images, answers):
                left[why] += 1
            elif image_id is not None:
                ids[question_id] = image_id
                texts.append(qa["question"])
                asked.append(make_annotation([qa["answer"]], None, None))
    if not ids:
        stop(f"no question is of use: {_counted(left)}")
    file = QuestionFile(Path(path), "Visual Genome", list(ids), list(ids.values()), texts, asked)
    return file, f"{path}: {len(ids):,} questions are trained on; left out are {_counted(left)}"


def _use(
    image_id: ImageId | None, qa: dict[str, str], images: Collection[ImageId], answers: AnswerVocabulary
) -> str:
    """Return why a question is of no use, or nothing."""
    if image_id is None:
        return "on images that are not COCO's"
    if image_id not in images:
        return "on images not trained on"
    if answers.index(normalize(qa["answer"])) is None:
        return "with an answer that cannot be chosen"
    return "" if qa["question"].strip() else "without words"


def _counted(left: Counter[str]) -> str:
    return ", ".join(f"{count:,} {why}" for why, count in left.most_common()) or "none"
