"""The VQA half of ``bua predict``: one answer to every question of a file."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bua.data.vqa.files.plain_values import Question, read_questions
from bua.data.vqa.files.stored import stored_images
from bua.engine.instantiate import to_plain
from bua.engine.load import load
from bua.engine.run_directory import read_run_data
from bua.errors import InputError
from bua.inference.ensemble import Member, VQAEnsemble
from bua.inference.outputs import VQAPrediction
from bua.inference.predictor import Predictor
from bua.store.reader import FeatureStore
from bua.tasks.shares import checked_shares
from bua.text.vocabulary import UNKNOWN

log = logging.getLogger(__name__)
#: The splits of which a run knows the files of questions.
SPLITS = ("train", "val")


def answers(config: Any, trained: Predictor, store: FeatureStore) -> list[dict[str, Any]]:
    """Answer every question, in the order of the file.

    Raises:
        InputError: there is no file of questions, it is named twice, or images of it have no regions.
    """
    if config.questions is not None and config.split is not None:
        raise InputError(f"split={config.split}: questions={config.questions} says already what is asked")
    source = config.questions or read_run_data(config.run, _split(config))
    files = [source] if isinstance(source, str) else [str(path) for path in source]
    questions = [question for path in files for question in read_questions(path)]
    twice = [i for i, count in Counter(q.question_id for q in questions).items() if count > 1]
    if twice:
        raise InputError(f"{', '.join(files)}: question {twice[0]} is in two of them")
    images = list(dict.fromkeys(q.image_id for q in questions))
    together = VQAEnsemble(
        [
            Member(model, regions, stored_images(images, regions, ", ".join(files)), share)
            for model, regions, share in _members(config, trained, store)
        ]
    )
    for member in together.members:
        _tell_of_words(questions, member.trained)
    results = []
    for start in range(0, len(questions), config.batch_size):
        part = questions[start : start + config.batch_size]
        found = together.answer([q.image_id for q in part], [q.text for q in part], candidates=config.n_best)
        for question, answer in zip(part, found, strict=True):
            results.append(_result(question, answer, together.members[0], config))
    return results


def _split(config: Any) -> str:
    """Return which questions of a run are answered."""
    split = config.split or "val"
    if split not in SPLITS:
        raise InputError(f"split={split}: a run has {' and '.join(SPLITS)}; give questions=FILE for others")
    return str(split)


def _tell_of_words(questions: Sequence[Question], trained: Predictor) -> None:
    """Count the questions that the model does not hear as they are asked."""
    words = [trained.vocabulary.encode(question.text) for question in questions]
    length = trained.record["length"]
    unknown, cut = sum(UNKNOWN in one for one in words), sum(len(one) > length for one in words)
    log.info(
        f"{trained.source}: of {len(words):,} questions, {unknown:,} have unknown words, {cut:,} are cut "
        f"to {length} words"
    )


def _members(
    config: Any, trained: Predictor, store: FeatureStore
) -> Iterator[tuple[Predictor, FeatureStore, float]]:
    """Yield the model and the others of the command line, each with features of its own run and its share."""
    shares = checked_shares(to_plain(config.shares), 1 + len(config.others))
    yield trained, store, shares[0]
    stores = {str(store.path): store}
    for run, share in zip(config.others, shares[1:], strict=True):
        other = load(run, device=config.device, precision=config.precision, compile=config.compile)
        features = features_of(config, run, other)
        yield other, stores.setdefault(str(features.path), features), share


def features_of(config: Any, run: str, trained: Predictor) -> FeatureStore:
    """Return the features of the command line, or those of a run.

    Raises:
        InputError: they are not what its model was trained on.
    """
    store = FeatureStore(config.features or read_run_data(run, "features"))
    if not config.any_features:
        trained.check_features(store.metadata.identity, str(store.path))
    trained.check_width(store.feature_size, str(store.path))
    return store


def _result(question: Question, answer: VQAPrediction, member: Member, config: Any) -> dict[str, Any]:
    """Return the official record of a question, with what else was asked for."""
    result: dict[str, Any] = {"question_id": question.question_id, "answer": answer.text}
    if config.scores:
        result["score"] = round(answer.score, 6)
    if config.n_best > 1:
        result["candidates"] = [{"answer": text, "score": round(s, 6)} for text, s in answer.candidates]
    if config.attention is not None:
        boxes = member.store[member.stored([question.image_id])[0]].boxes
        result["attention"] = looked(answer.weights, boxes, config.attention)
    return result


def looked(weights: NDArray[np.floating], boxes: NDArray[np.floating], most: int) -> list[dict[str, Any]]:
    """Return the regions most looked at: their boxes in pixels and their weights."""
    order = (-weights).argsort(kind="stable")[:most]
    return [
        {"box": [round(float(v), 1) for v in boxes[n]], "weight": round(float(weights[n]), 4)} for n in order
    ]
