"""The VQA half of ``bua score``: the official accuracy of a file of answers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bua import __version__
from bua.data.pairs import read_pairs
from bua.data.predictions import check_complete, check_known, id_type_hint, read_predictions
from bua.data.vqa.files.entry import UNKNOWN_TYPE
from bua.data.vqa.files.plain_values import Annotations, annotations, read_questions
from bua.engine.provenance import sha256
from bua.errors import InputError
from bua.metrics.vqa import RULES, VQAAnnotation, best_accuracies, by_type, question_accuracies
from bua.metrics.vqa_pairs import pair_accuracy
from bua.text.answers import AnswerVocabulary

#: How answers are compared where the official evaluation does not say.
POLICY = (
    "annotators are left out by position; any number of them is averaged over; with one, the accuracy is "
    'agreement of normal forms; a question without a type counts as "unknown"'
)


def score_answers(config: Any) -> dict[str, Any]:
    """Return the numbers of a file of answers.

    Raises:
        InputError: the answers are not those to exactly the questions, or a file is broken.
    """
    if config.rule not in RULES:
        raise InputError(f"rule={config.rule}: {', '.join(RULES)} is needed")
    predictions = read_predictions(config.predictions, "question_id", "answer")
    if config.annotations is None:
        raise InputError("annotations is needed for task=vqa: give annotations=FILE")
    given = annotations(config.annotations)
    wanted, left_out = _wanted(config, given), given.unbalanced | given.unanswered
    asked = {i: answers for i, answers in given.asked.items() if i in wanted}
    predictions = {i: answer for i, answer in predictions.items() if i not in left_out}
    source = config.questions or config.annotations
    check_known(predictions, asked, "question", config.predictions, source)
    check_complete(predictions, asked, "question", config.predictions, source)
    accuracies = question_accuracies(predictions, asked, config.rule)
    result = {**by_type(accuracies, asked), "questions": len(asked), "counts": _counts(asked, given, wanted)}
    if config.pairs is not None:
        result["balanced_pairs"] = _pairs(config.pairs, accuracies, asked)
    if config.answers is not None:
        result["best_possible"] = _best_possible(config.answers, asked, config.rule)
    files = ("predictions", "annotations", "questions", "pairs")
    result["signature"] = {
        "bua": __version__,
        "metric": "VQA accuracy",
        "rule": config.rule,
        "policy": POLICY,
        "questions": len(asked),
        **{f"{file}_sha256": sha256(config[file]) if config[file] else None for file in files},
    }
    return result


def score_lines(result: Mapping[str, Any]) -> list[str]:
    """Return what to say of the numbers."""
    lines = [f"overall {_types(result)}  ({result['questions']} questions)"]
    counts = [f"{what.replace('_', ' ')}: {n}" for what, n in result["counts"].items()]
    lines.append(f"questions {', '.join(counts)}")
    if "balanced_pairs" in result:
        pairs = result["balanced_pairs"]
        shown = {**pairs, "overall": pairs["accuracy"]}
        lines.append(
            f"balanced pairs {_types(shown)}  ({pairs['pairs']} pairs, {pairs['incomplete']} incomplete, "
            f"{pairs['repeated']} repeated)"
        )
    if "best_possible" in result:
        best = result["best_possible"]
        lines.append(f"best possible {_types(best)}  (with {best['answers']} answers)")
    return lines


def _types(numbers: Mapping[str, Any]) -> str:
    types = [f"{name} {value:.2f}" for name, value in numbers["per_answer_type"].items()]
    return "  ".join([f"{numbers['overall']:.2f}", *types])


def _wanted(config: Any, given: Annotations) -> set[Any]:
    """Return the ids of the questions asked: without a file of them, all of the annotations."""
    if config.questions is None:
        return {*given.asked, *given.unbalanced, *given.unanswered}
    wanted = {question.question_id for question in read_questions(config.questions)}
    lost = wanted - given.asked.keys() - given.unbalanced - given.unanswered
    if lost:
        one = min(lost, key=str)
        raise InputError(
            f"{config.annotations}: {len(lost)} of the {len(wanted)} questions of {config.questions} have no "
            f"annotation, one is {one}{id_type_hint(one, given.asked)}"
        )
    return wanted


def _counts(asked: Mapping[Any, VQAAnnotation], given: Annotations, wanted: set[Any]) -> dict[str, int]:
    """Count the questions for which a policy decides, and those that are left out."""
    return {
        "without_ten_answers": sum(len(one.answers) != 10 for one in asked.values()),
        "with_one_answer": sum(len(one.answers) == 1 for one in asked.values()),
        "without_answer_type": sum(one.answer_type == UNKNOWN_TYPE for one in asked.values()),
        "without_question_type": sum(one.question_type == UNKNOWN_TYPE for one in asked.values()),
        "not_balanced_and_left_out": len(given.unbalanced & wanted),
        "without_answers_and_left_out": len(given.unanswered & wanted),
        "answered_and_not_asked": len(given.asked.keys() - wanted),
    }


def _pairs(path: str, accuracies: Mapping[Any, float], asked: Mapping[Any, VQAAnnotation]) -> dict[str, Any]:
    found = pair_accuracy(accuracies, asked, read_pairs(path))
    if found.accuracy is None:
        raise InputError(f"{path}: of none of the {found.incomplete} pairs both questions were scored")
    return found._asdict()


def _best_possible(path: str, asked: Mapping[Any, VQAAnnotation], rule: str) -> dict[str, Any]:
    """Return what the best choice from a list of answers would score."""
    vocabulary = read_answers(path)
    best = best_accuracies(vocabulary.surface, asked, rule)
    return {"answers": len(vocabulary), "answers_sha256": vocabulary.sha256, **by_type(best, asked)}


def read_answers(path: str) -> AnswerVocabulary:
    """Read a list of answers, or that of a run."""
    source = Path(path)
    return AnswerVocabulary.load(source / "answers.json" if source.is_dir() else source)
