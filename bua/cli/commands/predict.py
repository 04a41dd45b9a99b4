"""``bua predict``: captions or answers of a data set in the official format of results."""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bua.cli.main import NOT_NEGATIVE, POSITIVE, reject_overrides
from bua.data.captions.constraints import read_constraints
from bua.data.image_lookup import match_images
from bua.data.vqa.files import read_questions
from bua.decode import BeamSearch, Decoder
from bua.engine import load
from bua.engine.instantiate import instantiate, to_plain
from bua.engine.run_data import ImageSelection, read_run_data, run_questions, select_stored_images
from bua.errors import InputError
from bua.inference.ensemble import Ensemble, StoredImages
from bua.inference.predict import (
    Record,
    RecordOptions,
    predict_answers,
    predict_captions,
    predict_constrained_captions,
)
from bua.inference.vqa import VQAPredictor
from bua.io.files import write_text
from bua.store.reader import FeatureStore
from bua.structures.annotations import Question

log = logging.getLogger(__name__)

#: Keys that have no effect for a VQA model, and for a captioner.
CAPTION_KEYS = ("images", "image_key", "ids", "splits", "constraints", "required", "decode")
VQA_KEYS = ("questions",)


@dataclass
class Options:
    """Keys of the command, described in conf/predict.yaml."""

    run: str
    ensemble: Any
    ensemble_weights: Any
    out: str
    split: str | None
    features: str | None
    images: str | None
    splits: Any
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
    torch.manual_seed(options.seed)
    decoder = instantiate(options.decode)
    ensemble, stores = open_ensemble(options)
    if isinstance(ensemble.first, VQAPredictor):
        reject_overrides(CAPTION_KEYS, f"{options.run} answers questions and does not take it")
        records, noun = answer_questions(options, ensemble, stores), "answers"
    else:
        reject_overrides(VQA_KEYS, f"{options.run} captions images and does not take it")
        records, noun = caption_images(options, decoder, ensemble, stores), "captions"
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, json.dumps(records, allow_nan=False))
    log.info(f"{out}: {len(records)} {noun}")


def open_ensemble(options: Options) -> tuple[Ensemble, list[FeatureStore]]:
    """Load the models, and open the features of each: those given, or those of its run."""
    runs = to_plain(options.ensemble)
    if not isinstance(runs, list):
        raise InputError(f"ensemble={runs}: must be a list of runs: ensemble=[{runs}]")
    runs = [options.run, *map(str, runs)]
    predictors = [
        load(run, device=options.device, precision=options.precision, compile=options.compile) for run in runs
    ]
    ensemble = Ensemble(predictors, to_plain(options.ensemble_weights))
    opened: dict[str, FeatureStore] = {}
    stores = []
    for run, predictor in zip(runs, predictors, strict=True):
        path = str(options.features or read_run_data(run, "features"))
        store = opened.setdefault(path, FeatureStore(path))
        predictor.check_store(store, allow_other_features=options.allow_other_features)
        stores.append(store)
    return ensemble, stores


def record_options(options: Options) -> RecordOptions:
    """Return what a record of a prediction holds."""
    return RecordOptions(options.n_best, options.scores, options.attention)


def caption_images(
    options: Options, decoder: Decoder, ensemble: Ensemble, stores: list[FeatureStore]
) -> list[Record]:
    """Caption the selected images."""
    if options.n_best > decoder.num_sequences:
        raise InputError(
            f"n_best={options.n_best}: the search returns at most {decoder.num_sequences} captions; give a "
            "larger decode.beam_size or decode.num_samples"
        )
    if options.required is not None and options.constraints is None:
        raise InputError(f"required={options.required}: needs constraints=FILE")
    selection = ImageSelection(
        options.images, options.split, to_plain(options.splits), options.ids, options.image_key
    )
    images = [StoredImages(s, select_stored_images(selection, options.run, s)) for s in stores]
    for run, stored in zip(to_plain(options.ensemble), images[1:], strict=True):
        if missing := [image_id for image_id in images[0].ids if image_id not in stored.ids]:
            raise InputError(f"{stored.store.path}: must also hold image {missing[0]!r}, for {run}")
    if options.constraints is None:
        return predict_captions(ensemble, images, decoder, record_options(options), options.batch_size)
    if not isinstance(decoder, BeamSearch):
        raise InputError(f"constraints={options.constraints}: need decode=beam")
    constraints = read_constraints(options.constraints, ensemble.first.vocabulary, log.warning)
    if unused := constraints.keys() - set(map(str, images[0].ids)):
        log.warning(f"{options.constraints}: {len(unused)} images, such as {min(unused)}, are not captioned")
    return predict_constrained_captions(
        ensemble,
        images,
        decoder,
        record_options(options),
        options.batch_size,
        constraints,
        options.required,
    )


def answer_questions(options: Options, ensemble: Ensemble, stores: list[FeatureStore]) -> list[Record]:
    """Answer the questions of the files given, or of a split of the run."""
    questions = options.questions
    if questions is not None and options.split is not None:
        raise InputError(f"split={options.split}: questions={questions} already says what to answer")
    files = run_questions(options.run, options.split) if questions is None else questions
    files = [files] if isinstance(files, str) else files
    found: dict[Any, Question] = {}
    for question in (question for path in files for question in read_questions(path)):
        if question.question_id in found:
            raise InputError(f"{', '.join(files)}: question {question.question_id} is in two of them")
        found[question.question_id] = question
    names = {question.image_id: question.image_id for question in found.values()}
    images = [StoredImages(s, match_images(names, s, ", ".join(files))) for s in stores]
    return predict_answers(
        ensemble, images, list(found.values()), record_options(options), options.batch_size
    )
