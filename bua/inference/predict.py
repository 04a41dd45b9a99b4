"""Predictions for a data set as records in the official result formats."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bua.data.captions.constraints import build_automata, count_satisfied
from bua.decode import Decoder, Sampling
from bua.decode.automaton import Constraint
from bua.errors import InputError
from bua.inference.ensemble import Ensemble, StoredImages
from bua.inference.predictor import CaptionCandidate, CaptionOutput, Predictor, VQAOutput, VQAPrediction
from bua.io.progress import counter
from bua.structures.annotations import ImageId, Question
from bua.text.vocabulary import UNKNOWN

log = logging.getLogger(__name__)

Record = dict[str, Any]


@dataclass(frozen=True)
class RecordOptions:
    """Contents of the record of a prediction.

    Attributes:
        n_best: Number of captions or answers; if more than one, they are listed as candidates.
        scores: Whether to include the log-probability of a caption or the score of an answer.
        attention: Number of most attended regions to include for each word or answer; ``None`` for none.
    """

    n_best: int = 1
    scores: bool = False
    attention: int | None = None


def check_n_best(n_best: int, decoder: Decoder) -> None:
    """Raise ``InputError`` if more captions are wanted than a search returns."""
    if n_best > decoder.num_sequences:
        key = "num_samples" if isinstance(decoder, Sampling) else "beam_size"
        raise InputError(
            f"n_best={n_best}: the search returns at most {decoder.num_sequences} captions; give a larger "
            f"decode.{key}"
        )


def predict_captions(
    ensemble: Ensemble,
    images: Sequence[StoredImages],
    decoder: Decoder,
    options: RecordOptions,
    batch_size: int,
) -> list[Record]:
    """Caption images.

    Args:
        ensemble: Captioners.
        images: Images in the store of each captioner; the first says which images to caption.
        decoder: Search, whose rules may name words.
        options: What a record holds.
        batch_size: Images in a batch.
    """
    records: list[Record] = []
    with counter(len(images[0].ids)) as bar:
        for ids in batched(images[0].ids, repeat(1), batch_size):
            captions = ensemble.caption_batch(ensemble.read_regions(images, ids), decoder=decoder)
            records += [caption_record(i, c, images[0], options) for i, c in zip(ids, captions, strict=True)]
            bar.update(len(ids))
    _warn_of_empty(records)
    return records


def predict_constrained_captions(
    ensemble: Ensemble,
    images: Sequence[StoredImages],
    decoder: Decoder,
    options: RecordOptions,
    batch_size: int,
    constraints: Mapping[str, Sequence[Constraint]],
    required: int | None,
) -> list[Record]:
    """Caption images under constraints on the words that captions must contain.

    Args:
        ensemble: Captioners.
        images: Images in the store of each captioner; the first says which images to caption.
        decoder: Beam search; its rules may refer to words by name.
        options: What a record holds.
        batch_size: Maximum number of images times automaton states in a batch.
        constraints: Constraints by image id, as a string.
        required: Number of constraints that suffice, or ``None`` for all.
    """
    vocabulary, records = ensemble.first.vocabulary, list[Record]()
    states = (build_automata(constraints, [i], required).num_states for i in images[0].ids)
    with counter(len(images[0].ids)) as bar:
        for ids in batched(images[0].ids, states, batch_size):
            automaton = build_automata(constraints, ids, required)
            regions = ensemble.read_regions(images, ids)
            captions = ensemble.caption_batch(regions, decoder=decoder, automaton=automaton)
            for image_id, candidates in zip(ids, captions, strict=True):
                wanted = constraints.get(str(image_id), [])
                satisfied = count_satisfied(candidates[0].words, wanted, vocabulary)
                record = caption_record(image_id, candidates, images[0], options)
                records.append({**record, "satisfied": satisfied, "constraints": len(wanted)})
            bar.update(len(ids))
    _warn_of_empty(records)
    log.info(_describe_constraints(records, required))
    return records


def predict_answers(
    ensemble: Ensemble,
    images: Sequence[StoredImages],
    questions: Sequence[Question],
    options: RecordOptions,
    batch_size: int,
) -> list[Record]:
    """Answer questions.

    Args:
        ensemble: VQA models.
        images: Images in the store of each model.
        questions: Questions, whose order is kept.
        options: What a record holds.
        batch_size: Questions in a batch.
    """
    for predictor in ensemble.predictors:
        _describe_questions(questions, predictor)
    records = []
    with counter(len(questions), unit="questions") as bar:
        for start in range(0, len(questions), batch_size):
            batch = questions[start : start + batch_size]
            regions = ensemble.read_regions(images, [question.image_id for question in batch])
            texts = [question.text for question in batch]
            predictions = ensemble.answer_batch(regions, texts, candidates=options.n_best)
            for question, prediction in zip(batch, predictions, strict=True):
                records.append(answer_record(question, prediction, images[0], options))
            bar.update(len(batch))
    return records


def caption_record(
    image_id: ImageId, candidates: Sequence[CaptionCandidate], images: StoredImages, options: RecordOptions
) -> Record:
    """Return the official record of an image, with the additional fields that the options request."""
    boxes = None if options.attention is None else images[image_id].boxes
    records = [_candidate(one, boxes, options.attention) for one in candidates[: options.n_best]]
    best = {k: v for k, v in records[0].items() if options.scores or k != "log_prob"}
    return {"image_id": image_id, **best, **({"candidates": records} if options.n_best > 1 else {})}


def _candidate(
    caption: CaptionCandidate, boxes: NDArray[np.floating] | None, attention: int | None
) -> Record:
    record: Record = {"caption": caption.text, "log_prob": caption.log_prob}
    if boxes is not None and attention is not None:
        record["attention"] = [
            {"word": word, "regions": most_attended(weights, boxes, attention)}
            for word, weights in zip(caption.words, caption.attention, strict=True)
        ]
    return record


def answer_record(
    question: Question, prediction: VQAPrediction, images: StoredImages, options: RecordOptions
) -> Record:
    """Return the official record of a question, with the additional fields that the options request."""
    record: Record = {"question_id": question.question_id, "answer": prediction.text}
    if options.scores:
        record["score"] = round(prediction.score, 6)
    if options.n_best > 1:
        record["candidates"] = [
            {"answer": text, "score": round(score, 6)} for text, score in prediction.candidates
        ]
    if options.attention is not None:
        boxes = images[question.image_id].boxes
        record["attention"] = most_attended(prediction.attention, boxes, options.attention)
    return record


def caption_output_record(image_id: ImageId, output: CaptionOutput, n_best: int = 1) -> Record:
    """Return a caption as plain values: its words, each with the most attended region.

    Args:
        image_id: Id of the image.
        output: Captions of the image.
        n_best: Number of captions; if more than one, they are listed as candidates. Default: 1.
    """
    best = output.attention.argmax(1).tolist()
    candidates = [{"caption": one.text, "log_prob": one.log_prob} for one in output.candidates[:n_best]]
    return {
        "image_id": image_id,
        "caption": output.text,
        "log_prob": output.log_prob,
        **({"candidates": candidates} if n_best > 1 else {}),
        "words": [
            {
                "word": word,
                "box": [round(float(v), 1) for v in output.regions.boxes[k]],
                "weight": round(float(output.attention[t, k]), 4),
            }
            for t, (word, k) in enumerate(zip(output.words, best, strict=True))
        ],
    }


def vqa_output_record(image_id: ImageId, question: str, output: VQAOutput) -> Record:
    """Return an answer as plain values, with the most attended region and the candidates if several.

    Args:
        image_id: Id of the image.
        question: Question in words.
        output: Answers to the question.
    """
    best = int(output.attention.argmax())
    candidates = [{"answer": text, "score": score} for text, score in output.candidates]
    return {
        "image_id": image_id,
        "question": question,
        "answer": output.text,
        "score": output.score,
        **({"candidates": candidates} if len(candidates) > 1 else {}),
        "box": [round(float(v), 1) for v in output.regions.boxes[best]],
        "weight": round(float(output.attention[best]), 4),
    }


def most_attended(weights: NDArray[np.floating], boxes: NDArray[np.floating], count: int) -> list[Record]:
    """Return the most attended regions: their boxes in pixels and their weights."""
    order = (-weights).argsort(kind="stable")[:count]
    return [
        {"box": [round(float(v), 1) for v in boxes[n]], "weight": round(float(weights[n]), 4)} for n in order
    ]


def batched(images: Iterable[ImageId], states: Iterable[int], limit: int) -> Iterator[list[ImageId]]:
    """Yield images in batches, in their order.

    Constrained search keeps beams for every state of an automaton, the same number for each image of a batch.
    The product of images and states is at most ``limit``, unless a single image exceeds it.

    Args:
        images: Ids of the images.
        states: Number of automaton states of each image; 1 without an automaton.
        limit: Maximum number of images times states in a batch.
    """
    batch: list[ImageId] = []
    most = 0
    for image, count in zip(images, states, strict=False):
        if batch and (len(batch) + 1) * max(most, count) > limit:
            yield batch
            batch, most = [], 0
        batch.append(image)
        most = max(most, count)
    if batch:
        yield batch


def _warn_of_empty(records: Sequence[Record]) -> None:
    if empty := sum(not record["caption"] for record in records):
        log.warning(
            f"{empty} of {len(records)} captions are empty; train longer, or forbid it with "
            "decode.rules.min_length=1"
        )


def _describe_constraints(records: Sequence[Record], required: int | None) -> str:
    """Return how many constraints are satisfied, and how many images satisfy the required number."""
    pairs = [(record["satisfied"], record["constraints"]) for record in records if record["constraints"]]
    enough = sum(n >= (count if required is None else min(required, count)) for n, count in pairs)
    return (
        f"{sum(n for n, _ in pairs)} of {sum(count for _, count in pairs)} constraints are satisfied; "
        f"{enough} of {len(pairs)} images with constraints satisfy "
        f"{'all' if required is None else f'{required} or all'} of them"
    )


def _describe_questions(questions: Sequence[Question], predictor: Predictor) -> None:
    """Log how many questions have unknown words or are truncated."""
    encoded = [predictor.vocabulary.encode(question.text) for question in questions]
    max_length = predictor.record["max_length"]
    unknown = sum(UNKNOWN in words for words in encoded)
    truncated = sum(len(words) > max_length for words in encoded)
    log.info(
        f"{predictor.source}: of {len(questions):,} questions, {unknown:,} have unknown words, {truncated:,} "
        f"are truncated to {max_length} words"
    )
