"""Scoring a file of predicted answers by the official accuracy."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bua import __version__
from bua.data.predictions import ALLOW_MISSING, check_complete, check_known, id_type_hint, read_answers
from bua.data.vqa.files.question_file import UNKNOWN_TYPE
from bua.data.vqa.files.read import Annotations, read_all_annotations, read_questions
from bua.data.vqa.pairs import read_pairs
from bua.errors import InputError
from bua.io.files import file_sha256
from bua.io.progress import progress
from bua.metrics.vqa import RULES, accuracy_by_type, oracle_accuracies, question_accuracies
from bua.metrics.vqa_pairs import pair_accuracy
from bua.structures.annotations import VQAAnnotation
from bua.text.answers import AnswerVocabulary

#: How answers are compared if the official evaluation does not define it.
POLICY = (
    "annotators are left out by position; the accuracy is the mean over any number of them; with one, it is "
    'whether normal forms agree; a question without a type counts as "unknown"'
)


@dataclass(frozen=True)
class VQAScoring:
    """What to score, and how.

    Attributes:
        predictions: File of predictions in the official format of VQA v2, GQA or VizWiz.
        annotations: File of annotations.
        questions: File of the questions to score. Default: all questions in the annotations.
        rule: Rule of the accuracy, one of ``RULES`` of ``bua.metrics.vqa``.
        pairs: File of complementary pairs to score as well. Default: none.
        answers: Run or answer list whose best possible accuracy is also computed. Default: none.
        allow_missing: Whether questions may lack an answer; they are then not scored.
    """

    predictions: str
    annotations: str
    questions: str | None = None
    rule: str = "official"
    pairs: str | None = None
    answers: str | None = None
    allow_missing: bool = False


def score_vqa(options: VQAScoring) -> dict[str, Any]:
    """Score answers.

    Raises:
        InputError: If there is not exactly one answer per question, or a file is broken.
    """
    if options.rule not in RULES:
        raise InputError(f"rule={options.rule}: must be one of {', '.join(RULES)}")
    predictions = read_answers(options.predictions)
    annotations = read_all_annotations(options.annotations)
    ids, left_out = _question_ids(options, annotations), annotations.unbalanced | annotations.unanswered
    counted = {i: annotation for i, annotation in annotations.by_question.items() if i in ids}
    predictions = {i: answer for i, answer in predictions.items() if i not in left_out}
    source = options.questions or options.annotations
    check_known(predictions, counted, "question", options.predictions, source)
    if not options.allow_missing:
        check_complete(predictions, counted, "question", options.predictions, source, ALLOW_MISSING)
    num_asked = len(counted)
    counted = {i: annotation for i, annotation in counted.items() if i in predictions}
    accuracies = question_accuracies(
        predictions, counted, options.rule, watch=partial(progress, unit="questions")
    )
    result: dict[str, Any] = {
        **accuracy_by_type(accuracies, counted),
        "questions": len(counted),
        "counts": {
            "without_prediction_and_left_out": num_asked - len(counted),
            **_counts(counted, annotations, ids),
        },
    }
    if options.pairs is not None:
        result["balanced_pairs"] = _score_pairs(options.pairs, accuracies, counted)
    if options.answers is not None:
        result["best_possible"] = _best_possible(options.answers, counted, options.rule)
    files = ("predictions", "annotations", "questions", "pairs")
    paths = {name: getattr(options, name) for name in files}
    result["signature"] = {
        "bua": __version__,
        "metric": "VQA accuracy",
        "rule": options.rule,
        "policy": POLICY,
        "questions": len(counted),
        **{f"{name}_sha256": file_sha256(path) if path else None for name, path in paths.items()},
    }
    return result


def describe_vqa_scores(result: Mapping[str, Any]) -> list[str]:
    """Return lines about scores and counts."""
    lines = [f"overall {_by_type_text(result)}  ({result['questions']} questions)"]
    if counts := [f"{what.replace('_', ' ')}: {n}" for what, n in result["counts"].items() if n]:
        lines.append(f"questions {', '.join(counts)}")
    if "balanced_pairs" in result:
        pairs = result["balanced_pairs"]
        lines.append(
            f"balanced pairs {_by_type_text({**pairs, 'overall': pairs['accuracy']})}  "
            f"({pairs['pairs']} pairs, {pairs['incomplete']} incomplete, {pairs['repeated']} repeated)"
        )
    if "best_possible" in result:
        best = result["best_possible"]
        lines.append(f"best possible {_by_type_text(best)}  (with {best['answers']} answers)")
    return lines


def _by_type_text(scores: Mapping[str, Any]) -> str:
    types = [f"{name} {value:.2f}" for name, value in scores["per_answer_type"].items()]
    return "  ".join([f"{scores['overall']:.2f}", *types])


def _question_ids(options: VQAScoring, annotations: Annotations) -> set[Any]:
    """Return the ids of the questions to score, which are those of all annotations if no file is given."""
    if options.questions is None:
        return {*annotations.by_question, *annotations.unbalanced, *annotations.unanswered}
    ids = {question.question_id for question in read_questions(options.questions)}
    missing = ids - annotations.by_question.keys() - annotations.unbalanced - annotations.unanswered
    if missing:
        example = min(missing, key=str)
        raise InputError(
            f"{options.annotations}: {len(missing)} of the {len(ids)} questions of {options.questions} have "
            f"no annotation, such as {example}{id_type_hint(example, annotations.by_question)}"
        )
    return ids


def _counts(counted: Mapping[Any, VQAAnnotation], annotations: Annotations, ids: set[Any]) -> dict[str, int]:
    """Count the questions to which the policy applies, and those that are left out."""
    return {
        "without_ten_answers": sum(len(one.answers) != 10 for one in counted.values()),
        "with_one_answer": sum(len(one.answers) == 1 for one in counted.values()),
        "without_answer_type": sum(one.answer_type == UNKNOWN_TYPE for one in counted.values()),
        "without_question_type": sum(one.question_type == UNKNOWN_TYPE for one in counted.values()),
        "not_balanced_and_left_out": len(annotations.unbalanced & ids),
        "without_answers_and_left_out": len(annotations.unanswered & ids),
        "annotated_but_not_asked": len(annotations.by_question.keys() - ids),
    }


def _score_pairs(
    path: str, accuracies: Mapping[Any, float], counted: Mapping[Any, VQAAnnotation]
) -> dict[str, Any]:
    scores = pair_accuracy(accuracies, counted, read_pairs(path))
    if scores.accuracy is None:
        raise InputError(f"{path}: none of its {scores.incomplete} pairs has both questions scored")
    return scores._asdict()


def _best_possible(path: str, counted: Mapping[Any, VQAAnnotation], rule: str) -> dict[str, Any]:
    """Return the scores of choosing the best answer of a list for every question."""
    vocabulary = read_answer_vocabulary(path)
    best = oracle_accuracies(vocabulary.surface_forms, counted, rule)
    identity = {"answers": len(vocabulary), "answers_sha256": vocabulary.sha256}
    return {**identity, **accuracy_by_type(best, counted)}


def read_answer_vocabulary(path: str) -> AnswerVocabulary:
    """Read an answer list from a file or a run directory."""
    source = Path(path)
    return AnswerVocabulary.load(source / "answers.json" if source.is_dir() else source)
