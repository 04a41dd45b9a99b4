"""Predictions of a data set with one trained model or an ensemble: from runs and files to records."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bua.data.captions.constraints import read_constraints
from bua.data.image_lookup import match_images
from bua.data.vqa.files import read_questions
from bua.decode import BeamSearch, Decoder
from bua.engine.loading import load
from bua.engine.run_data import ImageSelection, read_run_data, select_stored_images
from bua.errors import InputError
from bua.inference.ensemble import Ensemble, StoredImages
from bua.inference.predict import (
    Record,
    RecordOptions,
    check_n_best,
    predict_answers,
    predict_captions,
    predict_constrained_captions,
)
from bua.store.reader import FeatureStore
from bua.structures.annotations import Question

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EnsembleRuns:
    """Trained models that predict as one, each with the features of its run.

    Attributes:
        runs: Run directories, at least one.
        model_weights: Weight of each model, a number above 0. Default: equal.
        features: Feature store to use for all models instead of those of their runs.
        allow_other_features: Whether to accept features of another detector than that of the training.
        device: Device to run on.
        precision: Precision of matrix products: "32-true", "bf16-mixed" or "16-mixed".
        compile: Whether to compile the models with ``torch.compile`` on first use.
    """

    runs: Sequence[str]
    model_weights: Any = None
    features: str | None = None
    allow_other_features: bool = False
    device: str = "cpu"
    precision: str = "32-true"
    compile: bool = False

    def open(self) -> tuple[Ensemble, list[FeatureStore]]:
        """Load the models and open the feature store of each.

        Raises:
            InputError: If a run or a store does not exist or does not fit the others.
        """
        predictors = [
            load(run, device=self.device, precision=self.precision, compile=self.compile) for run in self.runs
        ]
        ensemble = Ensemble(predictors, self.model_weights)
        opened: dict[str, FeatureStore] = {}
        stores = []
        for run, predictor in zip(self.runs, predictors, strict=True):
            path = str(self.features or read_run_data(run, "features"))
            store = opened.setdefault(path, FeatureStore(path))
            predictor.check_store(store, allow_other_features=self.allow_other_features)
            stores.append(store)
        return ensemble, stores


def select_ensemble_images(
    selection: ImageSelection, runs: Sequence[str], stores: Sequence[FeatureStore]
) -> list[StoredImages]:
    """Return the selected images in the store of each model.

    Args:
        selection: Images to select; the data of the first run are used where it gives no file.
        runs: Run directories.
        stores: Feature store of each run.

    Raises:
        InputError: If a store lacks an image.
    """
    images = [StoredImages(store, select_stored_images(selection, runs[0], store)) for store in stores]
    for run, stored in zip(runs[1:], images[1:], strict=True):
        if missing := [image_id for image_id in images[0].ids if image_id not in stored.ids]:
            raise InputError(f"{stored.store.path}: must also hold image {missing[0]!r}, for {run}")
    return images


def caption_images(
    ensemble: Ensemble,
    images: Sequence[StoredImages],
    decoder: Decoder,
    options: RecordOptions,
    batch_size: int,
    *,
    constraints: str | None = None,
    required: int | None = None,
) -> list[Record]:
    """Caption images.

    Args:
        ensemble: Captioners.
        images: Images in the store of each captioner; the first determines which images are captioned.
        decoder: Search, whose rules may name words.
        options: Content of a record.
        batch_size: Number of images in a batch.
        constraints: File of words that captions must contain. Default: none.
        required: Number of constraints that suffice. Default: all.

    Raises:
        InputError: If the options contradict each other, or the file of constraints is broken.
    """
    check_n_best(options.n_best, decoder)
    if constraints is None:
        if required is not None:
            raise InputError(f"required={required}: needs constraints=FILE")
        return predict_captions(ensemble, images, decoder, options, batch_size)
    if not isinstance(decoder, BeamSearch):
        raise InputError(f"constraints={constraints}: need decode=beam")
    phrases = read_constraints(constraints, ensemble.first.vocabulary, log.warning)
    if unused := phrases.keys() - set(map(str, images[0].ids)):
        log.warning(f"{constraints}: {len(unused)} images, such as {min(unused)}, are not captioned")
    return predict_constrained_captions(ensemble, images, decoder, options, batch_size, phrases, required)


def answer_questions(
    ensemble: Ensemble,
    stores: Sequence[FeatureStore],
    files: Sequence[str],
    options: RecordOptions,
    batch_size: int,
) -> list[Record]:
    """Answer the questions of some files, in their order.

    Args:
        ensemble: VQA models.
        stores: Feature store of each model.
        files: Files of questions.
        options: Content of a record.
        batch_size: Number of questions in a batch.

    Raises:
        InputError: If a file is broken, a question is in two of them, or a store lacks an image.
    """
    questions: dict[Any, Question] = {}
    for question in (question for path in files for question in read_questions(path)):
        if question.question_id in questions:
            raise InputError(f"{', '.join(files)}: question {question.question_id} is in two of them")
        questions[question.question_id] = question
    names = {question.image_id: question.image_id for question in questions.values()}
    images = [StoredImages(store, match_images(names, store, ", ".join(files))) for store in stores]
    return predict_answers(ensemble, images, list(questions.values()), options, batch_size)
