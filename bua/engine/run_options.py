"""The options that a run records: with absolute paths, and compared with those that it is resumed with."""

import os
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from bua.errors import InputError
from bua.public_names import CLASS, to_public

#: Files of an objective that initialize the model.
INIT_FILES = ("word_vectors", "answer_images")
#: Keys whose values are paths, or lists of paths.
PATH_KEYS = (
    "init_from",
    "callbacks.samples.images",
    *(f"objective.{key}" for key in (*INIT_FILES, "document_frequencies")),
    *(f"data.{split}{key}" for split in ("train", "val") for key in ("", ".file", ".ids")),
    *(f"data.{split}.{key}" for split in ("train", "val") for key in ("questions", "annotations")),
    *(f"data.{key}" for key in ("features", "images", "pairs")),
    *(f"data.{key}.file" for key in ("vocabulary", "questions", "answers")),
    "data.vocabulary.extra_words",
    "data.questions.extra_files",
    "data.visual_genome.questions",
    "data.visual_genome.images",
)
#: Options of the trainer that a resumed run must keep; its duration and devices may change.
KEPT_TRAINER_OPTIONS = (
    "precision",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "accumulate_grad_batches",
)
#: Options of the data that a resumed run may change.
_FREE_DATA_OPTIONS = ("num_workers",)


def with_absolute_paths(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a configuration with absolute paths, so that they hold in every folder."""
    return _with_paths(config, lambda path: str(Path(path).absolute()))


def _with_paths(config: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Return a copy of a configuration with a function applied to its paths."""
    copy = deepcopy(dict(config))
    for key in PATH_KEYS:
        *parents, last = key.split(".")
        node: Any = copy
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        value = node.get(last) if isinstance(node, dict) else None
        if isinstance(value, str) and value:
            node[last] = change(value)
        elif isinstance(value, list):
            node[last] = [change(path) if isinstance(path, str) else path for path in value]
    return copy


def changed_options(former: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    """Yield a text about every option that a resumed run must keep and that differs, with both values.

    The options of the model come last, because its sizes follow from the data.

    Args:
        former: Configuration that the run was started with.
        given: Configuration that it is to be resumed with.
    """
    shown = [_kept_options(config) for config in (former, given)]
    compared = [_kept_options(_with_paths(config, os.path.realpath)) for config in (former, given)]
    for key in dict.fromkeys([*shown[0], *shown[1]]):
        if compared[0].get(key) != compared[1].get(key):
            name = key.removesuffix(f".{CLASS}")
            values = f"{_text(shown[0].get(key))}, not {_text(shown[1].get(key))}"
            yield f"{name} differs from that of the run ({values})"


def _kept_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a resumed run must keep, by their keys."""
    public = to_public(dict(config))
    trainer, objective = public.get("trainer") or {}, public.get("objective") or {}
    data = {key: value for key, value in public["data"].items() if key not in _FREE_DATA_OPTIONS}
    parts = {
        "seed": public.get("seed"),  # before that of the data, which follows from it
        "data": data,
        "objective": {key: value for key, value in objective.items() if key not in INIT_FILES},
        **{key: public.get(key) for key in ("optimizer", "scheduler", "multipliers")},
        "callbacks": _averaging(public.get("callbacks") or {}),
        "trainer": {key: trainer.get(key) for key in KEPT_TRAINER_OPTIONS},
        "model": {key: value for key, value in public["model"].items() if key != "pretrained"},
    }
    return dict(_leaves(parts, ""))


def _averaging(callbacks: Mapping[str, Any]) -> dict[str, Any]:
    """Return the callbacks that average weights; without a decay, they are not in use."""
    kinds = {n: str(o.get("_target_", o.get(CLASS))) for n, o in callbacks.items() if isinstance(o, Mapping)}
    names = [name for name, kind in kinds.items() if kind.endswith("Averaging")]
    return {name: callbacks[name] for name in names if callbacks[name].get("decay", 0) is not None}


def _leaves(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the values of nested dictionaries by their dotted keys."""
    if not isinstance(node, dict):
        yield prefix, node
        return
    for key, value in node.items():
        yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))


def _text(value: Any) -> str:
    """Return a value as it is written on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def require_recorded(path: str | Path, run: str | Path, key: str, option: str) -> None:
    """Raise ``InputError`` if a file that a run has recorded does not exist here.

    Args:
        path: The file.
        run: Run directory.
        key: Key under which the run has recorded it.
        option: Option that names another file instead.
    """
    if not Path(path).exists():
        relative = "" if Path(path).is_absolute() else ", relative to the folder of its training"
        raise InputError(
            f"{path}: does not exist; {run} recorded it as {key}{relative}; give {option} if it has moved"
        )
