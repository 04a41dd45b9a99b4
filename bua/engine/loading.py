"""Loading trained models, and the detectors behind them."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.utils import get_class

from bua.detectors.detector import Detector, store_metadata
from bua.engine.checkpoints import find_checkpoint, read_checkpoint
from bua.engine.instantiate import find_targets, instantiate, is_allowed
from bua.errors import InputError
from bua.inference.captioning import CaptionPredictor
from bua.inference.predictor import Predictor
from bua.inference.vqa import VQAPredictor
from bua.public_names import to_targets

#: Predictors of the kinds of models.
PREDICTORS: dict[str, type[Predictor]] = {"caption": CaptionPredictor, "vqa": VQAPredictor}


def load(
    path: Path | str,
    *,
    device: str = "cpu",
    weights: str | None = None,
    allow_other_features: bool = False,
    precision: str = "32-true",
    compile: bool = False,
) -> Predictor:
    """Load a trained model.

    Args:
        path: Run directory, whose best checkpoint is loaded, or checkpoint.
        device: Device to run on. Default: "cpu".
        weights: Weights of the detector, where they do not ship with bua.
        allow_other_features: Whether to accept another detector than that of the training. Default: no.
        precision: Precision of matrix products: "32-true", "bf16-mixed" or "16-mixed".
        compile: Whether to compile the model with ``torch.compile`` on first use. Default: no.

    Raises:
        InputError: If there is no captioner or VQA model at ``path``, or it is damaged.
    """
    checkpoint = find_checkpoint(Path(path))
    record, state = read_checkpoint(checkpoint)
    if record.get("kind") not in PREDICTORS:
        raise InputError(f"{path}: a {record.get('kind')} run; must be of a captioner or a VQA model")
    model = instantiate(to_targets(record["model"]), allowed=("bua.models.",))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{checkpoint}: its weights do not fit its model ({error})") from None
    if compile:
        model.compile(dynamic=True)

    def make_detector() -> Detector:
        detector = build_detector(record["features"], weights=weights, device=device)
        if not allow_other_features:
            predictor.check_features(store_metadata(detector).identity, f"detector {detector.name}")
        return detector

    try:
        predictor = PREDICTORS[record["kind"]](
            model,
            record,
            make_detector=make_detector,
            source=str(path),
            device=device,
            precision=precision,
        )
    except ValueError as error:
        raise InputError(str(error)) from None
    return predictor


def build_detector(identity: Mapping[str, Any], *, weights: str | None, device: str) -> Detector:
    """Build the detector that made some features, from the identity in their store.

    Args:
        identity: Name, configuration and hash of the weights of the detector.
        weights: File of its weights, where they do not ship with bua.
        device: Device to run on.

    Raises:
        InputError: If the identity does not suffice, or the detector cannot be built here.
    """
    name, configuration = identity["detector"], to_targets(identity["configuration"])
    if "_target_" not in configuration:
        raise InputError(f"the features are of {name!r}, which cannot run on images; give region features")
    if configuration.pop("given_boxes", None):
        raise InputError(f"the features of {name!r} are of given boxes; it cannot find regions by itself")
    for _, target in find_targets(configuration):
        if not is_allowed(target, ("bua.detectors.",)):
            raise InputError(f"detector {name!r}: {target} may not be built")
    parameters = inspect.signature(get_class(configuration["_target_"])).parameters
    local = {key: value for key, value in (("weights", weights), ("device", device)) if key in parameters}
    detector: Detector = instantiate(configuration, allowed=("bua.detectors.",), **local)
    return detector
