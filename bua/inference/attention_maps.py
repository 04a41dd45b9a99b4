"""Attention over regions for reference captions and questions, with the objects they refer to.

Shapes: K regions, M objects.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray

from bua.data.captions.dataset import pad_captions
from bua.data.captions.files import CaptionFile
from bua.inference.predictor import Predictor, VQAPrediction, merge_subword_attention
from bua.io.files import read_json
from bua.io.schema import Box, Id, Integer, validate
from bua.metrics.grounding import AttendedWord
from bua.store.reader import FeatureStore
from bua.structures.annotations import ImageId, Question

#: For each caption of an image: positions of the words that name objects, and the boxes (M, 4).
NamedObjects = dict[ImageId, list[list[tuple[int, NDArray[np.float32]]]]]


class _GroundedWord(TypedDict):
    position: Annotated[int, Meta(ge=0)]
    boxes: list[Box]


class _GroundedCaption(TypedDict):
    image_id: Id
    words: list[_GroundedWord]


class _GroundedQuestion(TypedDict):
    question_id: Integer
    boxes: list[Box]


def read_groundings(path: Path | str) -> NamedObjects:
    """Read the boxes of the objects that words of captions name, as written by ``bua scenes``.

    Raises:
        InputError: If the file is broken.
    """
    content = read_json(path)
    validate(content, list[_GroundedCaption], path, "not a list of captions with words and boxes")
    named: NamedObjects = {}
    for record in content:
        words = [(w["position"], np.array(w["boxes"], np.float32)) for w in record["words"]]
        named.setdefault(record["image_id"], []).append(words)
    return named


@torch.no_grad()
def word_attention(
    predictor: Predictor, store: FeatureStore, captions: CaptionFile, named: NamedObjects
) -> Iterator[AttendedWord]:
    """Force a captioner to generate reference captions, and yield the attention of words that name objects.

    Args:
        predictor: Captioner.
        store: Feature store of the images.
        captions: Reference captions.
        named: Objects that the words of the captions name.

    Yields:
        Attention (K,), boxes of the regions (K, 4), and boxes of the named objects (M, 4), in pixels.
    """
    model: Any = predictor.model
    for image_id, texts in captions.captions.items():
        encoded = [predictor.vocabulary.encode(text) for text in texts]
        longest = max(map(len, encoded))
        words = pad_captions([encoded], longest)
        memory = model.encode(predictor.region_input.load(store, [image_id]))
        state, steps = model.init_state(memory, len(texts)), []
        for t in range(longest):
            _, step_weights, state = model.step(words[:, :, t], memory, state)
            steps.append(step_weights[0])
        boxes, weights = np.asarray(store[image_id].boxes), torch.stack(steps, 1).numpy()
        for n, objects in enumerate(named[image_id]):
            lengths = [length for _, length in predictor.vocabulary.decode_with_lengths(encoded[n])]
            attention = merge_subword_attention(weights[n], lengths)
            for position, object_boxes in objects:
                yield attention[position], boxes, object_boxes


def read_question_groundings(path: Path | str) -> dict[int, NDArray[np.float32]]:
    """Read the boxes (M, 4) that questions are about, by question id, as written by ``bua scenes``.

    Raises:
        InputError: If the file is broken.
    """
    content = read_json(path)
    validate(content, list[_GroundedQuestion], path, "not a list of questions with boxes")
    return {r["question_id"]: np.array(r["boxes"], np.float32).reshape(-1, 4) for r in content}


def question_attention(
    questions: Iterable[Question],
    predictions: Iterable[VQAPrediction],
    store: FeatureStore,
    named: Mapping[Any, NDArray[np.float32]],
) -> Iterator[AttendedWord]:
    """Yield the attention of answers to questions that are about objects.

    Args:
        questions: Questions.
        predictions: Predicted answer to each question.
        store: Feature store of the images.
        named: Boxes (M, 4) of the objects that each question is about, by question id.

    Yields:
        Attention (K,), boxes of the regions (K, 4), and boxes of the objects (M, 4), in pixels.
    """
    for question, prediction in zip(questions, predictions, strict=True):
        boxes = named[question.question_id]
        if len(boxes):
            yield prediction.attention, np.asarray(store[question.image_id].boxes), boxes
