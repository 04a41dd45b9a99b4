"""Loading what was trained: run directories, checkpoints, and the detectors behind them."""

import inspect
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class
from torch import nn

from bua.detectors.detector import Detector, store_metadata
from bua.engine.instantiate import instantiate, is_allowed, targets
from bua.errors import InputError
from bua.inference.predictor import Predictor

#: Of the record in a checkpoint; another number means that bua must be another one.
FORMAT = 1


def load(
    path: Path | str,
    *,
    device: str = "cpu",
    weights: str | None = None,
    any_features: bool = False,
    precision: str = "32-true",
    compile: bool = False,
) -> Predictor:
    """Load a trained model.

    Args:
        path: a run directory (its best checkpoint is taken) or a checkpoint.
        device: to run on.
        weights: of the detector, where they do not ship with bua.
        any_features: accept a detector other than the one that the model was trained on.
        precision: of the model's products: 32-true, bf16-mixed or 16-mixed.
        compile: by ``torch.compile``, when the model is first used.

    Raises:
        InputError: there is no model, or it is damaged.
    """
    checkpoint = find_checkpoint(Path(path))
    record, state = read_checkpoint(checkpoint)
    if record.get("kind") not in ("caption", "vqa"):
        raise InputError(f"{path}: a {record.get('kind')} run; a captioner or a VQA model is needed")
    model = instantiate(record["model"], allowed=("bua.models.",))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{checkpoint}: its weights do not fit its model ({error})") from None
    if compile:
        model.compile(dynamic=True)

    def detector() -> Detector:
        made = build_detector(record["features"], weights=weights, device=device)
        if not any_features:
            trained.check_features(store_metadata(made).identity, f"detector {made.name}")
        return made

    try:
        trained = Predictor(
            model, record, detector=detector, source=str(path), device=device, precision=precision
        )
    except ValueError as error:
        raise InputError(str(error)) from None
    return trained


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint that a path means: the best of a run, or the file itself."""
    if path.is_file():
        return path
    for name in ("best.ckpt", "last.ckpt"):
        if (path / "checkpoints" / name).is_file():
            return path / "checkpoints" / name
    raise InputError(f"{path}: neither a checkpoint nor a run directory with checkpoints/best.ckpt")


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the record and the weights of a checkpoint; nothing in the file is executed.

    Raises:
        InputError: it is damaged, or not a checkpoint of bua.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        record = content["bua"]
        state = {
            name.removeprefix("model."): value
            for name, value in content["state_dict"].items()
            if name.startswith("model.")
        }
    except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError):
        raise InputError(f"{path}: a damaged file, or not a checkpoint of tensors and plain values") from None
    except (KeyError, TypeError, IndexError, AttributeError):
        raise InputError(f"{path}: not a checkpoint of bua") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise InputError(f"{path}: made by another version of bua; train it again with this one")
    return record, state


def init_weights_from(model: nn.Module, path: Path | str, record: Mapping[str, Any]) -> None:
    """Give a model the weights of one that was trained before; its optimiser is not looked at.

    Args:
        model: of the same kind and sizes.
        path: a run directory or a checkpoint.
        record: of the run that begins.

    Raises:
        InputError: there is no checkpoint, it is of other words or features, or its weights do not fit.
    """
    checkpoint = find_checkpoint(Path(path))
    before, state = read_checkpoint(checkpoint)
    for key, what in (
        ("kind", "kind of model"),
        ("vocabulary", "vocabulary"),
        ("answers", "list of answers"),
        ("region_input", "region input"),
        ("features", "detector of its features"),
    ):
        if before.get(key) != record.get(key):
            raise InputError(
                f"{path}: its {what} is not that of these data "
                f"({difference(before.get(key), record.get(key))}); it cannot be the start"
            )
    theirs, ours = before["model"], record["model"]
    kinds = [str(one["_target_"]).rpartition(".")[2] for one in (theirs, ours)]
    if kinds[0] != kinds[1]:
        raise InputError(f"{path}: its model is {kinds[0]}, from which {kinds[1]} cannot start")
    try:
        model.load_state_dict(state)
    except RuntimeError:
        raise InputError(
            f"{path}: its weights do not fit the model: {difference(theirs, ours)}; give the same model"
        ) from None


def difference(theirs: Any, ours: Any) -> str:
    """Say in a few words where two records first differ."""
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        key = next(key for key in [*theirs, *ours] if theirs.get(key) != ours.get(key))
        return f"{key}: {difference(theirs.get(key), ours.get(key))}"
    if isinstance(theirs, list) and isinstance(ours, list):
        if len(theirs) != len(ours):
            return f"{len(theirs):,}, not {len(ours):,}"
        place = next(n for n, pair in enumerate(zip(theirs, ours, strict=True)) if pair[0] != pair[1])
        return f"number {place} is {theirs[place]!r:.60}, not {ours[place]!r:.60}"
    return f"{theirs!r:.60}, not {ours!r:.60}"


def build_detector(identity: Mapping[str, Any], *, weights: str | None, device: str) -> Detector:
    """Build the detector that made some features, from what their store says of it.

    Raises:
        InputError: the store does not say enough, or its detector cannot be built here.
    """
    name, configuration = identity["detector"], dict(identity["configuration"])
    if "_target_" not in configuration:
        raise InputError(
            f"the features are of {name!r}, which cannot look at photographs; give region features"
        )
    if configuration.pop("given_boxes", None):
        raise InputError(f"the features of {name!r} are of given boxes; it cannot find regions by itself")
    for _, target in targets(configuration):
        if not is_allowed(target, ("bua.detectors.",)):
            raise InputError(f"detector {name!r}: {target} may not be built")
    taken = inspect.signature(get_class(configuration["_target_"])).parameters
    here = {key: value for key, value in (("weights", weights), ("device", device)) if key in taken}
    detector: Detector = instantiate(configuration, allowed=("bua.detectors.",), **here)
    return detector
