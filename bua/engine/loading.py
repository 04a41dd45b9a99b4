"""Checkpoints: finding and reading them, loading their models, and initializing a model from one."""

import inspect
import json
import pickle
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import torch
from msgspec import Meta
from torch import nn

from bua.detectors.detector import Detector, store_metadata
from bua.engine.instantiate import instantiate
from bua.engine.targets import find_class
from bua.engine.trust import trusting
from bua.errors import InputError
from bua.inference.captioning import CaptionPredictor
from bua.inference.predictor import Predictor
from bua.inference.vqa import VQAPredictor
from bua.io.files import check_archive
from bua.io.schema import validate
from bua.public_names import to_public, to_targets

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
    trust: Sequence[str] = (),
) -> Predictor:
    """Load a trained model.

    If the model or the detector is of another package than bua, that package must be trusted.

    Args:
        path: Checkpoint, or run directory, whose best checkpoint is loaded.
        device: Device to run on. Default: "cpu".
        weights: Weight file of the detector, unless its weights ship with bua.
        allow_other_features: Whether to accept a different detector than the one used in training. Default:
            no.
        precision: Precision of matrix products: "32-true", "bf16-mixed" or "16-mixed".
        compile: Whether to compile the model with ``torch.compile`` on first use. Default: no.
        trust: Names of packages whose code may be used, besides those that ``BUA_TRUST`` names and those that
            are installed as plugins. Default: none.

    Raises:
        InputError: If there is no captioner or VQA model at ``path``, it is damaged, or it needs a package
            that is not installed or not trusted.
    """
    checkpoint = find_checkpoint(Path(path))
    record, state = read_checkpoint(checkpoint)
    if record.get("kind") not in PREDICTORS:
        raise InputError(f"{path}: a {record.get('kind')} run; must be of a captioner or a VQA model")
    with trusting(trust):
        model = build_model(record["model"], path)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{checkpoint}: its weights do not fit its model ({error})") from None
    if compile:
        model.compile(dynamic=True)

    def make_detector() -> Detector:
        with trusting(trust):
            detector = build_detector(record["features"], weights=weights, device=device)
        if not allow_other_features:
            options = {"stretch_gray": True} if predictor.stretch_gray else {}
            identity = store_metadata(detector, **options).identity
            predictor.check_features(identity, f"detector {detector.name}")
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


def build_model(configuration: Mapping[str, Any], source: Path | str) -> nn.Module:
    """Build the model of a checkpoint, without its weights.

    Args:
        configuration: Configuration of the model, with public names.
        source: Run or checkpoint, for messages.

    Raises:
        InputError: If the class may not be built, does not exist, or refuses its arguments.
    """
    try:
        model: nn.Module = instantiate(to_targets(configuration), allowed=("bua.models.",), kind=nn.Module)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error.__cause__
    return model


def build_detector(identity: Mapping[str, Any], *, weights: str | None, device: str) -> Detector:
    """Build the detector that extracted some features, from the identity in their store.

    Args:
        identity: Name, configuration and hash of the weights of the detector.
        weights: Weight file of the detector, unless its weights ship with bua.
        device: Device to run on.

    Raises:
        InputError: If the identity is not sufficient to build the detector, or it cannot be built here.
    """
    name, configuration = identity["detector"], to_targets(identity["configuration"])
    if "_target_" not in configuration:
        raise InputError(
            f"the features were extracted by {name!r}, which cannot run on images; give region features"
        )
    if configuration.pop("given_boxes", None):
        raise InputError(
            f"the features of {name!r} were extracted from given boxes; it cannot find regions by itself"
        )
    configuration.pop("stretch_gray", None)  # decides how images are decoded, not how they are detected
    try:
        found = find_class(configuration["_target_"], ("bua.detectors.",))
    except InputError as error:
        raise InputError(f"detector {name!r}: {error}") from error.__cause__
    parameters = inspect.signature(found).parameters
    local: dict[str, Any] = {
        key: value for key, value in (("weights", weights), ("device", device)) if key in parameters
    }
    detector: Detector = instantiate(configuration, allowed=("bua.detectors.",), kind=Detector, **local)
    return detector


#: Version of the record in a checkpoint.
FORMAT = 1


class _RegionInput(TypedDict):
    geometry: Annotated[float, Meta(gt=0)] | None


class _Features(TypedDict):
    detector: str
    configuration: dict[str, Any]
    weights_sha256: str


class _ModelRecord(TypedDict):
    kind: str
    model: dict[str, Any]
    objective: dict[str, Any]


class _CaptionRecord(_ModelRecord):
    vocabulary: dict[str, Any]
    region_input: _RegionInput
    features: _Features


class _VQARecord(_CaptionRecord):
    answers: dict[str, Any]
    max_length: Annotated[int, Meta(ge=1, le=100_000)]
    padding: Literal["front", "end"]


#: Type of the record of each kind of model.
_RECORDS: dict[object, Any] = {"caption": _CaptionRecord, "vqa": _VQARecord}
#: Former names of keys of the record.
_RENAMED_KEYS = {"length": "max_length"}
#: Keys that must be equal for a model to be initialized from a checkpoint, with their descriptions.
_INIT_KEYS = {
    "kind": "kind of model",
    "vocabulary": "vocabulary",
    "answers": "list of answers",
    "region_input": "region input",
    "features": "detector of its features",
}


def find_checkpoint(path: Path) -> Path:
    """Return the best checkpoint of a run directory, or the last one, or the path if it is a file.

    Raises:
        InputError: If there is no checkpoint.
    """
    if path.is_file():
        return path
    for name in ("best.ckpt", "last.ckpt"):
        if (path / "checkpoints" / name).is_file():
            return path / "checkpoints" / name
    problem = "has no checkpoints/best.ckpt" if path.exists() else "does not exist"
    raise InputError(f"{path}: {problem}; must be a run directory or a checkpoint")


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the record and the weights of a checkpoint; nothing in the file is executed.

    Classes in the record have their current public names, even if they had others when it was written.

    Raises:
        InputError: If the file is damaged, or not a checkpoint of bua.
    """
    check_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        record = content["bua"]
        state = {
            name.removeprefix("model."): value
            for name, value in content["state_dict"].items()
            if name.startswith("model.")
        }
    except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError):
        raise InputError(f"{path}: damaged, or not a checkpoint of tensors and plain values") from None
    except (KeyError, TypeError, IndexError, AttributeError):
        raise InputError(f"{path}: not a checkpoint of bua") from None
    written = record.get("format") if isinstance(record, dict) else None
    if written != FORMAT:
        newer = isinstance(written, int) and written > FORMAT
        remedy = (
            "a newer version of bua; update bua"
            if newer
            else "an older version of bua; train the model again"
        )
        raise InputError(f"{path}: written by {remedy}")
    broken = (name for name, value in state.items() if not bool(torch.isfinite(value).all()))
    if name := next(broken, None):
        raise InputError(f"{path}: weight {name} is not finite; use another checkpoint, or train again")
    record = {_RENAMED_KEYS.get(key, key): value for key, value in record.items()}
    validate(record, _RECORDS.get(record.get("kind"), _ModelRecord), path, "record")
    return to_public(record), state


def init_weights_from(model: nn.Module, path: Path | str, record: Mapping[str, Any]) -> None:
    """Initialize a model with the weights of a trained one; the optimizer state is ignored.

    Args:
        model: Model of the same class and sizes.
        path: Run directory or checkpoint.
        record: Record of the new run.

    Raises:
        InputError: If there is no checkpoint, it has a different vocabulary or different features, or its
            weights do not fit.
    """
    checkpoint = find_checkpoint(Path(path))
    trained, state = read_checkpoint(checkpoint)
    different = [key for key in _INIT_KEYS if trained.get(key) != record.get(key)]
    if different:
        key = different[0]
        raise InputError(
            f"{path}: its {_INIT_KEYS[key]} is not that of these data "
            f"({describe_difference(trained.get(key), record.get(key))}); "
            f"{_advice(checkpoint, trained, different)}"
        )
    types = [str(one["model"]["class"]) for one in (trained, record)]
    if types[0] != types[1]:
        raise InputError(f"{path}: its model is {types[0]}, which cannot initialize {types[1]}")
    try:
        model.load_state_dict(state)
    except RuntimeError:
        difference = describe_difference(trained["model"], record["model"])
        raise InputError(
            f"{path}: weights do not fit the model: {difference}; give the same model and sizes (model.KEY=)"
        ) from None


def _advice(checkpoint: Path, trained: Mapping[str, Any], different: Sequence[str]) -> str:
    """Return the options with which a model can be initialized from a checkpoint, if there are any.

    Args:
        checkpoint: Checkpoint of the trained model.
        trained: Its record.
        different: Keys of the record in which the new run differs.
    """
    if "kind" in different:
        return "it cannot initialize the model"
    run = checkpoint.parent.parent
    words = "data.questions.file" if trained["kind"] == "vqa" else "data.vocabulary.file"
    geometry = json.dumps(trained["region_input"].get("geometry"))
    options = {
        "vocabulary": shlex.quote(f"{words}={run / 'vocabulary.json'}"),
        "answers": shlex.quote(f"data.answers.file={run / 'answers.json'}"),
        "region_input": f"data.geometry={geometry}",
        "features": f"features=FILE of the detector {trained['features'].get('detector')}",
    }
    return f"give {' '.join(options[key] for key in different)}"


def describe_difference(one: Any, other: Any) -> str:
    """Return a short description of the first difference between two records."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        key = next(key for key in [*one, *other] if one.get(key) != other.get(key))
        return f"{key}: {describe_difference(one.get(key), other.get(key))}"
    if isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return f"{len(one):,}, not {len(other):,}"
        index = next(n for n, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1])
        return f"number {index} is {one[index]!r:.60}, not {other[index]!r:.60}"
    return f"{one!r:.60}, not {other!r:.60}"
