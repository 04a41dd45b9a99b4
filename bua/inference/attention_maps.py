"""Where a captioner looks while it is made to say given captions, and a VQA model to answer."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bua.data.batch import pad_captions
from bua.data.captions.files import CaptionFile
from bua.data.vqa.files.plain_values import Question
from bua.errors import InputError
from bua.inference.outputs import VQAPrediction, merge_subword_attention
from bua.inference.predictor import Predictor
from bua.io.json_file import read_json
from bua.metrics.grounding import AttendedWord
from bua.store.reader import FeatureStore, ImageId

#: For every caption of an image: position and boxes of each word that names something.
Named = dict[ImageId, list[list[tuple[int, NDArray[np.float32]]]]]


def read_groundings(path: Path | str) -> Named:
    """Read the boxes that the words of captions name, as ``bua scenes`` writes them.

    Raises:
        InputError: the file is broken.
    """
    named: Named = {}
    try:
        for record in read_json(path):
            words = [(int(w["position"]), np.array(w["boxes"], np.float32)) for w in record["words"]]
            named.setdefault(record["image_id"], []).append(words)
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not a list of captions with words and boxes ({error!r})") from None
    return named


@torch.no_grad()
def word_attention(
    trained: Predictor, store: FeatureStore, captions: CaptionFile, named: Named
) -> Iterator[AttendedWord]:
    """Say the reference captions and yield, for each word with a box, where it looked.

    Yields:
        Weights (K,), the regions' boxes (K, 4) and the boxes that the word names (M, 4).
    """
    model: Any = trained.model
    for image_id, texts in captions.captions.items():
        encoded = [trained.vocabulary.encode(text) for text in texts]
        longest = max(map(len, encoded))
        words = pad_captions([encoded], longest)
        memory = model.encode(trained.region_input.load(store, [image_id]))
        state, weights = model.start(memory, len(texts)), []
        for t in range(longest):
            _, looked, state = model.step(words[:, :, t], memory, state)
            weights.append(looked[0])
        boxes, every = np.asarray(store[image_id].boxes), torch.stack(weights, 1).numpy()
        for n, nouns in enumerate(named[image_id]):
            lengths = [length for _, length in trained.vocabulary.spoken(encoded[n])]
            looked = merge_subword_attention(every[n], lengths)
            for position, wanted in nouns:
                yield looked[position], boxes, wanted


def read_question_groundings(path: Path | str) -> dict[int, NDArray[np.float32]]:
    """Read the boxes of what questions are about, by question id, as ``bua scenes`` writes them.

    Raises:
        InputError: the file is broken.
    """
    try:
        return {
            int(record["question_id"]): np.array(record["boxes"], np.float32).reshape(-1, 4)
            for record in read_json(path)
        }
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not a list of questions with boxes ({error!r})") from None


def question_attention(
    questions: Iterable[Question],
    answers: Iterable[VQAPrediction],
    store: FeatureStore,
    named: Mapping[Any, NDArray[np.float32]],
) -> Iterator[AttendedWord]:
    """Yield, for each question that is about something, where the model that answered it looked.

    Yields:
        Weights (K,), the regions' boxes (K, 4) and the boxes of what the question is about (M, 4).
    """
    for question, answer in zip(questions, answers, strict=True):
        boxes = named[question.question_id]
        if len(boxes):
            yield answer.weights, np.asarray(store[question.image_id].boxes), boxes
