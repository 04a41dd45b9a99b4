"""Caption metrics with the official numbers: BLEU, METEOR, ROUGE-L, CIDEr, SPICE.

The scorers are those of pycocoevalcap, as on the COCO evaluation server. What the server calls CIDEr is
CIDEr-D with document frequencies from the references of the scored images.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from bua.errors import InputError
from bua.metrics.java import METEOR_JAR, PTB_JAR, jar_sha1, java_version, meteor, ptb_tokenize
from bua.metrics.spice import SPICE_JAR, spice
from bua.text.tokenize import ptb_like

DEFAULT_METRICS = ("bleu", "meteor", "rouge", "cider")
#: SPICE is not a default, since its models must be downloaded first.
ALL_METRICS = (*DEFAULT_METRICS, "spice")
TOKENIZERS = ("ptb", "python")


def caption_scores(
    predictions: Mapping[Any, str],
    references: Mapping[Any, Sequence[str]],
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    tokenizer: str = "ptb",
    watch: Callable[[Sequence[str]], Iterable[str]] = iter,
) -> dict[str, float]:
    """Score one caption per image against its references.

    Args:
        predictions: Raw caption by image id.
        references: Raw references by image id; only images with a prediction are scored.
        metrics: Subset of ``ALL_METRICS``.
        tokenizer: "ptb" (official, requires Java) or "python" (nearly the same, without Java).
        watch: Function that goes through the names of the metrics, to show progress. Default: nothing shown.

    Returns:
        ``BLEU-1`` to ``BLEU-4``, ``METEOR``, ``ROUGE-L`` and ``SPICE`` from 0 to 1, and ``CIDEr``, which
        is usually around 1.

    Raises:
        InputError: If there are no predictions, an image has no references, a metric or the tokenizer
            is unknown, or Java is missing.
    """
    unknown = [name for name in metrics if name not in ALL_METRICS]
    if unknown:
        raise InputError(f"unknown metric {unknown[0]!r}, expected one of {', '.join(ALL_METRICS)}")
    if not predictions:
        raise InputError("no predictions to score")
    for image_id in predictions:
        if not references.get(image_id):
            raise InputError(f"image {image_id!r} has a prediction but no references")
    hypotheses, references = tokenize_pairs(predictions, references, tokenizer)
    captions, originals = [texts[0] for texts in hypotheses.values()], [references[i] for i in hypotheses]
    scores: dict[str, float] = {}
    for name in watch([name for name in ALL_METRICS if name in metrics]):
        if name == "bleu":
            values, _ = Bleu(4).compute_score(references, hypotheses, verbose=0)
            scores |= {f"BLEU-{n}": float(value) for n, value in enumerate(values, 1)}
        elif name == "meteor":
            scores["METEOR"] = meteor(captions, originals)
        elif name == "rouge":
            scores["ROUGE-L"] = float(Rouge().compute_score(references, hypotheses)[0])
        elif name == "cider":
            scores["CIDEr"] = float(Cider().compute_score(references, hypotheses)[0])
        elif name == "spice":
            scores["SPICE"] = spice(captions, originals)
    return scores


def tokenize_pairs(
    predictions: Mapping[Any, str], references: Mapping[Any, Sequence[str]], tokenizer: str
) -> tuple[dict[Any, list[str]], dict[Any, list[str]]]:
    """Tokenize predictions and their references.

    Args:
        predictions: Raw caption by image id.
        references: Raw references by image id.
        tokenizer: "ptb" or "python".

    Returns:
        Predictions and references by image id, each a list of texts with tokens separated by spaces.

    Raises:
        InputError: If the tokenizer is unknown, or if Java is missing.
    """
    if tokenizer not in TOKENIZERS:
        raise InputError(f"unknown tokenizer {tokenizer!r}, expected one of {', '.join(TOKENIZERS)}")
    counts = [(image_id, len(references[image_id])) for image_id in predictions]
    texts = [*predictions.values(), *(r for i, _ in counts for r in references[i])]
    tokenized = ptb_tokenize(texts) if tokenizer == "ptb" else [" ".join(ptb_like(text)) for text in texts]
    hypotheses = {image_id: [tokenized[n]] for n, image_id in enumerate(predictions)}
    tokenized_references, start = {}, len(predictions)
    for image_id, count in counts:
        tokenized_references[image_id] = tokenized[start : start + count]
        start += count
    return hypotheses, tokenized_references


def signature(metrics: Sequence[str], tokenizer: str, images: int) -> dict[str, Any]:
    """Return the settings that the scores depend on, for reporting.

    Args:
        metrics: Computed metrics.
        tokenizer: "ptb" or "python".
        images: Number of scored images.
    """
    needs_java = tokenizer == "ptb" or "meteor" in metrics or "spice" in metrics
    return {
        "metrics": list(metrics),
        "tokenizer": "PTB (CoreNLP 3.4.1)" if tokenizer == "ptb" else "PTB-like (nltk), approximate",
        "cider": f"CIDEr-D, document frequencies from the references of these {images} images",
        "java": java_version() if needs_java else None,
        "jars": {
            name: jar_sha1(name)
            for name, used in (
                (PTB_JAR, tokenizer == "ptb"),
                (METEOR_JAR, "meteor" in metrics),
                (SPICE_JAR, "spice" in metrics),
            )
            if used
        },
    }
