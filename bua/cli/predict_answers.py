"""The VQA half of ``bua predict``: one answer to every question of a file."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bua.cli.load import load
from bua.cli.run import data_of_run
from bua.data.vqa import Question, read_questions
from bua.errors import InputError
from bua.store.reader import FeatureStore
from bua.tasks.said import Answered
from bua.tasks.together import Member, Together
from bua.tasks.trained import Trained


def answers(config: Any, trained: Trained, store: FeatureStore) -> list[dict[str, Any]]:
    """Answer every question, in the order of the file.

    Raises:
        InputError: there is no file of questions, or images of it have no regions.
    """
    source = config.questions or data_of_run(config.run, config.split or "val")
    together = _together(config, trained, store)
    questions = [question for path in _files(source) for question in read_questions(path)]
    for member in together.members:
        member.store.require(list(dict.fromkeys(q.image_id for q in questions)), str(source))
    results = []
    for start in range(0, len(questions), config.batch_size):
        part = questions[start : start + config.batch_size]
        found = together.answer([q.image_id for q in part], [q.text for q in part], candidates=config.n_best)
        for question, answer in zip(part, found, strict=True):
            results.append(_result(question, answer, together.members[0].store, config))
    return results


def _files(source: Any) -> list[str]:
    return [source] if isinstance(source, str) else [str(path) for path in source]


def _together(config: Any, trained: Trained, store: FeatureStore) -> Together:
    """Return the model with the others of the command line, each with features of its own run."""
    shares = config.shares or [1.0] * (1 + len(config.others))
    if len(shares) != 1 + len(config.others) or not all(isinstance(s, int | float) and s > 0 for s in shares):
        raise InputError(
            f"shares={list(shares)}: {1 + len(config.others)} numbers above 0 are needed, one a model"
        )
    members, stores = [Member(trained, store, shares[0])], {str(store.path): store}
    for run, share in zip(config.others, shares[1:], strict=True):
        other = load(run, device=config.device, precision=config.precision)
        path = str(config.features or data_of_run(run, "features"))
        theirs = stores.setdefault(path, FeatureStore(path))
        if not config.any_features:
            other.check_features(theirs.about.identity, path)
        members.append(Member(other, theirs, share))
    return Together(members)


def _result(question: Question, answer: Answered, store: FeatureStore, config: Any) -> dict[str, Any]:
    """Return the official record of a question, with what else was asked for."""
    result: dict[str, Any] = {"question_id": question.question_id, "answer": answer.text}
    if config.scores:
        result["score"] = round(answer.score, 6)
    if config.n_best > 1:
        result["candidates"] = [{"answer": text, "score": round(s, 6)} for text, s in answer.candidates]
    if config.attention is not None:
        result["attention"] = looked(answer.weights, store[question.image_id].boxes, config.attention)
    return result


def looked(weights: NDArray[np.floating], boxes: NDArray[np.floating], most: int) -> list[dict[str, Any]]:
    """Return the regions most looked at: their boxes in pixels and their weights."""
    order = (-weights).argsort(kind="stable")[:most]
    return [
        {"box": [round(float(v), 1) for v in boxes[n]], "weight": round(float(weights[n]), 4)} for n in order
    ]
