"""The caption half of ``bua score``."""

from collections.abc import Mapping
from typing import Any

from bua import __version__
from bua.cli.provenance import sha256
from bua.data.caption_files import read_captions
from bua.errors import InputError
from bua.metrics.caption import caption_scores, signature


def score_captions(config: Any, predictions: Mapping[Any, str]) -> dict[str, Any]:
    """Score captions against references, and those of each domain by themselves where there are domains.

    A domain is scored as the server of nocaps does it: against its own references alone, of which the
    document frequencies of CIDEr are, too; so the overall number is no mean of those of the domains.
    """
    if config.references is None:
        raise InputError(f"references is needed for task={config.task}: give references=FILE")
    file = read_captions(config.references, splits=config.splits)
    extra = [i for i in predictions if i not in file.captions]
    if extra:
        raise InputError(f"{config.predictions}: image {extra[0]!r} is not in {config.references}")
    missing = [i for i in file.captions if i not in predictions]
    if missing and config.complete:
        raise InputError(
            f"{config.predictions}: {len(missing)} of the {len(file.captions)} images of "
            f"{config.references} were not predicted, the first is {missing[0]!r}; give "
            "complete=false to score the others"
        )
    metrics = [config.metrics] if isinstance(config.metrics, str) else list(config.metrics)
    if not metrics:
        raise InputError("metrics=[]: name at least one, as in metrics=[cider]")

    def scored(some: Mapping[Any, str]) -> dict[str, Any]:
        scores = caption_scores(some, file.captions, metrics=metrics, tokenizer=config.tokenizer)
        return {"scores": scores, "images": len(some)}

    result = scored(predictions)
    if domains := _by_domain(predictions, file.domains):
        result["per_domain"] = {domain: scored(some) for domain, some in domains.items()}
    result["signature"] = {
        "bua": __version__,
        **signature(metrics, config.tokenizer, len(predictions)),
        "images_without_prediction": len(missing),
        "predictions_sha256": sha256(config.predictions),
        "references_sha256": sha256(config.references),
    }
    if domains:
        result["signature"]["per_domain"] = "each against its own references, CIDEr's frequencies of these"
    return result


def _by_domain(predictions: Mapping[Any, str], domains: Mapping[Any, str]) -> dict[str, dict[Any, str]]:
    """Return the predictions of each domain."""
    found: dict[str, dict[Any, str]] = {}
    for image_id, text in predictions.items():
        if image_id in domains:
            found.setdefault(domains[image_id], {})[image_id] = text
    return dict(sorted(found.items()))


def caption_lines(result: Mapping[str, Any]) -> list[str]:
    """Return what is said of the numbers: all of them, and a line each domain."""
    every = {"": result, **{f"{name}: ": part for name, part in result.get("per_domain", {}).items()}}
    return [
        f"{head}{'  '.join(f'{name} {value:.4f}' for name, value in part['scores'].items())}  "
        f"({part['images']} images)"
        for head, part in every.items()
    ]
