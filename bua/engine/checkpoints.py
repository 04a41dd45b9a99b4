"""Checkpoints: finding and reading them, and initializing a model from one."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bua.errors import InputError
from bua.public_names import to_public

#: Version of the record in a checkpoint.
FORMAT = 1
#: Former names of keys of the record.
_RENAMED_KEYS = {"length": "max_length"}
#: What must be equal for a model to be initialized from a checkpoint, in words.
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
    raise InputError(f"{path}: neither a checkpoint nor a run directory with checkpoints/best.ckpt")


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the record and the weights of a checkpoint; nothing in the file is executed.

    Classes in the record are named by their public names of today, whatever they were when it was written.

    Raises:
        InputError: If the file is damaged, or not a checkpoint of bua.
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
        raise InputError(f"{path}: damaged, or not a checkpoint of tensors and plain values") from None
    except (KeyError, TypeError, IndexError, AttributeError):
        raise InputError(f"{path}: not a checkpoint of bua") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise InputError(f"{path}: written by another version of bua; train the model again with this one")
    record = {_RENAMED_KEYS.get(key, key): value for key, value in record.items()}
    return to_public(record), state


def init_weights_from(model: nn.Module, path: Path | str, record: Mapping[str, Any]) -> None:
    """Initialize a model with the weights of a trained one; the optimizer state is ignored.

    Args:
        model: Model of the same class and sizes.
        path: Run directory or checkpoint.
        record: Record of the run that begins.

    Raises:
        InputError: If there is no checkpoint, it is of another vocabulary or other features, or its weights
            do not fit.
    """
    trained, state = read_checkpoint(find_checkpoint(Path(path)))
    for key, what in _INIT_KEYS.items():
        if trained.get(key) != record.get(key):
            raise InputError(
                f"{path}: its {what} is not that of these data "
                f"({describe_difference(trained.get(key), record.get(key))}); it cannot initialize the model"
            )
    types = [str(one["model"]["class"]) for one in (trained, record)]
    if types[0] != types[1]:
        raise InputError(f"{path}: its model is a {types[0]}, which cannot initialize a {types[1]}")
    try:
        model.load_state_dict(state)
    except RuntimeError:
        difference = describe_difference(trained["model"], record["model"])
        raise InputError(f"{path}: weights do not fit the model: {difference}; give the same model") from None


def describe_difference(one: Any, other: Any) -> str:
    """Return in a few words where two records first differ."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        key = next(key for key in [*one, *other] if one.get(key) != other.get(key))
        return f"{key}: {describe_difference(one.get(key), other.get(key))}"
    if isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return f"{len(one):,}, not {len(other):,}"
        index = next(n for n, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1])
        return f"number {index} is {one[index]!r:.60}, not {other[index]!r:.60}"
    return f"{one!r:.60}, not {other!r:.60}"
