"""``bua predict``: predict captions or answers for a data set, in the official result format."""

from dataclasses import dataclass, field
from typing import Any

import torch

from bua.cli.options import NOT_NEGATIVE, POSITIVE, reject_overrides
from bua.cli.outputs import check_file, write_json
from bua.engine.instantiate import instantiate, to_plain
from bua.engine.prediction import EnsembleRuns, answer_questions, caption_images, select_ensemble_images
from bua.engine.run_data import ImageSelection, run_questions
from bua.errors import InputError
from bua.inference.predict import RecordOptions
from bua.inference.vqa import VQAPredictor

#: Keys that have no effect for a VQA model, and for a captioner.
CAPTION_KEYS = ("images", "image_key", "ids", "splits", "constraints", "required", "decode")
VQA_KEYS = ("questions",)


@dataclass
class Options:
    """Keys of the command, described in conf/predict.yaml."""

    run: str
    ensemble: str | list[str]
    ensemble_weights: Any
    out: str
    split: str | None
    features: str | None
    images: str | None
    splits: str | list[str]
    image_key: str | None
    ids: str | None
    questions: str | list[str] | None
    allow_other_features: bool
    n_best: int = field(metadata=POSITIVE)
    scores: bool
    attention: int | None = field(metadata=POSITIVE)
    constraints: str | None
    required: int | None = field(metadata=POSITIVE)
    seed: int = field(metadata=NOT_NEGATIVE)
    batch_size: int = field(metadata=POSITIVE)
    device: str
    compile: bool
    precision: str
    decode: Any


def main(options: Options) -> None:
    """Predict and write the file."""
    check_file(options.out)
    torch.manual_seed(options.seed)
    decoder = instantiate(options.decode)
    more = to_plain(options.ensemble)
    if not isinstance(more, list):
        raise InputError(f"ensemble={more}: must be a list of runs: ensemble=[{more}]")
    runs = [options.run, *map(str, more)]
    ensemble, stores = EnsembleRuns(
        runs,
        to_plain(options.ensemble_weights),
        features=options.features,
        allow_other_features=options.allow_other_features,
        device=options.device,
        precision=options.precision,
        compile=options.compile,
    ).open()
    record = RecordOptions(options.n_best, options.scores, options.attention)
    if isinstance(ensemble.first, VQAPredictor):
        reject_overrides(CAPTION_KEYS, f"{options.run} answers questions and does not take it")
        noun, files = "answers", question_files(options)
        records = answer_questions(ensemble, stores, files, record, options.batch_size)
    else:
        reject_overrides(VQA_KEYS, f"{options.run} captions images and does not take it")
        noun, selection = "captions", image_selection(options)
        records = caption_images(
            ensemble,
            select_ensemble_images(selection, runs, stores),
            decoder,
            record,
            options.batch_size,
            constraints=options.constraints,
            required=options.required,
        )
    write_json(options.out, records, f"{len(records)} {noun}", indent=None)


def image_selection(options: Options) -> ImageSelection:
    """Return which images to caption."""
    splits = to_plain(options.splits)
    return ImageSelection(options.images, options.split, splits, options.ids, options.image_key)


def question_files(options: Options) -> list[str]:
    """Return the files of questions to answer: those given, or those of a split of the run."""
    questions = options.questions
    if questions is None:
        return run_questions(options.run, options.split)
    if options.split is not None:
        raise InputError(f"split={options.split}: give either split= or questions=, not both")
    return [questions] if isinstance(questions, str) else questions
