"""Caption metrics with the official numbers: BLEU, METEOR, ROUGE-L, CIDEr.

The scorers are pycocoevalcap's, which are those of the COCO evaluation server; what the server
calls CIDEr is CIDEr-D with document frequencies from the references that are scored.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from bua.errors import InputError
from bua.metrics.java import METEOR_JAR, PTB_JAR, jar_sha1, java_version, meteor, ptb_tokenize
from bua.metrics.spice import SPICE_JAR, spice
from bua.text.tokenize import ptb_like

METRICS = ("bleu", "meteor", "rouge", "cider")
#: Those, and one whose models must be got first.
KNOWN = (*METRICS, "spice")
TOKENIZERS = ("ptb", "python")


def caption_scores(
    predictions: Mapping[Any, str],
    references: Mapping[Any, Sequence[str]],
    *,
    metrics: Sequence[str] = METRICS,
    tokenizer: str = "ptb",
) -> dict[str, float]:
    """Score one caption an image against its references.

    Args:
        predictions: raw captions by image id.
        references: raw references by image id; only images with a prediction are scored.
        metrics: some of ``KNOWN``.
        tokenizer: "ptb" (the official one, Java) or "python" (nearly the same, without Java).

    Returns:
        ``BLEU-1`` to ``BLEU-4``, ``METEOR``, ``ROUGE-L``, ``SPICE`` as fractions and ``CIDEr`` around 1.

    Raises:
        InputError: there is nothing to score, an image has no references, or Java is missing.
    """
    unknown = [name for name in metrics if name not in KNOWN]
    if unknown:
        raise InputError(f"there is no metric {unknown[0]!r}; there is {', '.join(KNOWN)}")
    if not predictions:
        raise InputError("there are no predictions to score")
    for image_id in predictions:
        if not references.get(image_id):
            raise InputError(f"image {image_id!r} was predicted but has no references")
    hypotheses, truth = tokenized(predictions, references, tokenizer)
    scores: dict[str, float] = {}
    if "bleu" in metrics:
        values, _ = Bleu(4).compute_score(truth, hypotheses, verbose=0)
        scores |= {f"BLEU-{n}": float(value) for n, value in enumerate(values, 1)}
    if "meteor" in metrics:
        said = [hypotheses[i][0] for i in hypotheses]
        scores["METEOR"] = meteor(said, [truth[i] for i in hypotheses])
    if "rouge" in metrics:
        scores["ROUGE-L"] = float(Rouge().compute_score(truth, hypotheses)[0])
    if "cider" in metrics:
        scores["CIDEr"] = float(Cider().compute_score(truth, hypotheses)[0])
    if "spice" in metrics:
        scores["SPICE"] = spice([hypotheses[i][0] for i in hypotheses], [truth[i] for i in hypotheses])
    return scores


def tokenized(
    predictions: Mapping[Any, str], references: Mapping[Any, Sequence[str]], tokenizer: str
) -> tuple[dict[Any, list[str]], dict[Any, list[str]]]:
    """Tokenise predictions and their references, each as a text with single spaces, in lists by id."""
    if tokenizer not in TOKENIZERS:
        raise InputError(f"there is no tokenizer {tokenizer!r}; there is {', '.join(TOKENIZERS)}")
    counts = [(image_id, len(references[image_id])) for image_id in predictions]
    flat = [*predictions.values(), *(r for i, _ in counts for r in references[i])]
    done = ptb_tokenize(flat) if tokenizer == "ptb" else [" ".join(ptb_like(text)) for text in flat]
    hypotheses = {image_id: [done[n]] for n, image_id in enumerate(predictions)}
    truth, at = {}, len(predictions)
    for image_id, count in counts:
        truth[image_id] = done[at : at + count]
        at += count
    return hypotheses, truth


def signature(metrics: Sequence[str], tokenizer: str, images: int) -> dict[str, Any]:
    """Return what decides the numbers besides the captions."""
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
