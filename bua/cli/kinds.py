"""Whether the chosen objective, data and model belong together."""

from collections.abc import Mapping
from typing import Any

from bua.errors import InputError

#: What the classes of bua are for, by the beginning of their paths.
_KINDS = {
    "bua.tasks.captioning.": "captioning",
    "bua.tasks.self_critical.": "captioning",
    "bua.tasks.vqa.": "VQA",
    "bua.tasks.detection.": "detection",
    "bua.data.captions.": "captioning",
    "bua.data.vqa.": "VQA",
    "bua.data.detection.": "detection",
    "bua.models.captioners.": "captioning",
    "bua.models.vqa.": "VQA",
    "bua.detectors.": "detection",
}


def check_kinds(config: Mapping[str, Any], choices: Mapping[str, Any]) -> None:
    """Raise ``InputError`` if a model or data of one kind are to be trained with an objective of another.

    Args:
        config: Configuration of a training.
        choices: Chosen options of the groups, for messages.
    """
    kinds = {group: _kind(config.get(group)) for group in ("objective", "data", "model")}
    objective = kinds.pop("objective")
    for group, kind in kinds.items():
        if objective and kind and kind != objective:
            chosen = choices.get("objective")
            raise InputError(
                f"{group}={choices.get(group)} is for {kind}, but objective={chosen} is for {objective}; "
                f"choose another {group} or experiment"
            )


def _kind(config: Mapping[str, Any] | None) -> str | None:
    """Return what a configuration is for; ``None`` for classes of other packages."""
    target = "" if config is None else str(config.get("_target_", ""))
    return next((kind for start, kind in _KINDS.items() if target.startswith(start)), None)
