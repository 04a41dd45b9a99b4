"""The caption half of ``bua score``."""

from collections.abc import Mapping
from typing import Any

from bua import __version__
from bua.data.captions.files import read_captions
from bua.data.predictions import check_complete, check_known, read_predictions
from bua.engine.provenance import sha256
from bua.errors import InputError
from bua.metrics.caption import caption_scores, signature

#: Of fewer images document frequencies say little; of a single one CIDEr is 0.
FEW = 100


def score_captions(config: Any) -> dict[str, Any]:
    """Score captions against references, and those of each domain by themselves where there are domains.

    A domain is scored as the server of nocaps does it: against its own references alone, of which the
    document frequencies of CIDEr are, too; so the overall number is no mean of those of the domains.
    """
    predictions = read_predictions(config.predictions, "image_id", "caption")
    if config.references is None:
        raise InputError("references is needed for task=caption: give references=FILE")
    file = read_captions(config.references, splits=config.splits)
    check_known(predictions, file.captions, "image", config.predictions, config.references)
    if config.complete:
        hint = "; give complete=false to score the others"
        check_complete(predictions, file.captions, "image", config.predictions, config.references, hint)
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
        "images_without_prediction": len(file.captions) - len(predictions),
        "empty_predictions": sum(not text.strip() for text in predictions.values()),
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
    few = result["images"] < FEW and "CIDEr" in result["scores"]
    warning = []
    if few:
        warning.append(
            f"CIDEr of {result['images']} images is not that of a test split: rare words weigh too little"
        )
    if empty := result["signature"]["empty_predictions"]:
        warning.append(f"{empty} of {result['images']} captions are empty")
    every = {"": result, **{f"{name}: ": part for name, part in result.get("per_domain", {}).items()}}
    lines = [
        f"{head}{'  '.join(f'{name} {value:.4f}' for name, value in part['scores'].items())}  "
        f"({part['images']} images)"
        for head, part in every.items()
    ]
    return lines + warning
