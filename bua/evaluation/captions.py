"""Scoring a file of predicted captions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bua import __version__
from bua.data.captions.files import read_captions
from bua.data.predictions import ALLOW_MISSING, check_complete, check_known, read_predictions
from bua.errors import InputError
from bua.io.files import file_sha256
from bua.io.progress import progress
from bua.metrics.caption import caption_scores, signature
from bua.metrics.java import count_replaced

#: Number of images below which CIDEr is not comparable, because document frequencies are unreliable.
FEW_IMAGES = 100


@dataclass(frozen=True)
class CaptionScoring:
    """What to score, and how.

    Attributes:
        predictions: File of predictions in the official format.
        references: File of reference captions, in any format.
        splits: Splits of the references, if they have splits.
        ids: Text file with the ids of the images to score, one per line. Default: all.
        metrics: Names of the metrics.
        tokenizer: "ptb", which needs Java, or "python".
        allow_missing: Whether images of the references may lack a prediction; they are then not scored.
        flagged: Whether captions that VizWiz marks as rejected or prepared are references, too; its own
            evaluation leaves them out.
    """

    predictions: str
    references: str
    splits: str | Sequence[str]
    ids: str | None
    metrics: Sequence[str]
    tokenizer: str
    allow_missing: bool = False
    flagged: bool = False


def score_captions(options: CaptionScoring) -> dict[str, Any]:
    """Score captions against references, overall and separately for each domain if there are domains.

    A domain is scored as on the nocaps server: only against its own references, from which CIDEr's document
    frequencies are computed, too. The overall score is therefore not a mean over domains.

    Raises:
        InputError: If a file is broken, a prediction has no reference, or there are no metrics.
    """
    predictions = read_predictions(options.predictions, "image_id", "caption")
    file = read_captions(options.references, options.ids, options.splits, raw=True, flagged=options.flagged)
    check_known(predictions, file.captions, "image", options.predictions, options.references)
    known = [image_id for image_id, captions in file.captions.items() if captions or not file.num_flagged]
    scored = set(known)
    predictions = {image_id: predictions[image_id] for image_id in predictions if image_id in scored}
    if not options.allow_missing:
        check_complete(predictions, known, "image", options.predictions, options.references, ALLOW_MISSING)
    if not options.metrics:
        raise InputError("metrics=[]: name at least one, as in metrics=[cider]")

    def score(part: Mapping[Any, str]) -> dict[str, Any]:
        scores = caption_scores(
            part,
            file.captions,
            metrics=options.metrics,
            tokenizer=options.tokenizer,
            watch=partial(progress, unit="metrics"),
        )
        return {"scores": scores, "images": len(part)}

    result = score(predictions)
    if domains := _by_domain(predictions, file.domains):
        result["per_domain"] = {domain: score(part) for domain, part in domains.items()}
    result["signature"] = {
        "bua": __version__,
        **signature(options.metrics, options.tokenizer, len(predictions)),
        "images_without_prediction": len(known) - len(predictions),
        "flagged_references_left_out": file.num_flagged,
        "images_without_unflagged_reference": len(file.captions) - len(known),
        "captions_with_replaced_characters": count_replaced(
            [*predictions.values(), *(text for image_id in predictions for text in file.captions[image_id])]
        ),
        "empty_predictions": sum(not text.strip() for text in predictions.values()),
        "predictions_sha256": file_sha256(options.predictions),
        "references_sha256": file_sha256(options.references),
    }
    if domains:
        result["signature"]["per_domain"] = (
            "each domain against its own references, which also give CIDEr's frequencies"
        )
    return result


def _by_domain(predictions: Mapping[Any, str], domains: Mapping[Any, str]) -> dict[str, dict[Any, str]]:
    """Return the predictions of each domain."""
    grouped: dict[str, dict[Any, str]] = {}
    for image_id, text in predictions.items():
        if image_id in domains:
            grouped.setdefault(domains[image_id], {})[image_id] = text
    return dict(sorted(grouped.items()))


def describe_caption_scores(result: Mapping[str, Any]) -> list[str]:
    """Return lines about scores: the overall scores, one line per domain, and warnings."""
    parts = {"": result, **{f"{name}: ": part for name, part in result.get("per_domain", {}).items()}}
    lines = [
        f"{head}{'  '.join(f'{name} {value:.4f}' for name, value in part['scores'].items())}  "
        f"({part['images']} images)"
        for head, part in parts.items()
    ]
    if result["images"] < FEW_IMAGES and "CIDEr" in result["scores"]:
        lines.append(f"CIDEr over {result['images']} images cannot be compared with published scores")
    counts = result["signature"]
    if missing := counts["images_without_prediction"]:
        lines.append(f"{missing} images of the references have no prediction and were not scored")
    if flagged := counts["flagged_references_left_out"]:
        images = counts["images_without_unflagged_reference"]
        lines.append(
            f"{flagged} references that VizWiz flags were left out, and {images} images that have no other"
        )
    if replaced := counts["captions_with_replaced_characters"]:
        lines.append(f"{replaced} captions hold characters that the official tokenizer cannot take")
    if empty := counts["empty_predictions"]:
        lines.append(f"{empty} of {result['images']} captions are empty")
    return lines
