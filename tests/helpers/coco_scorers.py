"""The scorers of coco-caption for captions as word indices."""

import numpy as np
from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.cider.cider_scorer import CiderScorer

Caption = list[int]


def coco_cider(hypotheses: list[Caption], references: list[list[Caption]]) -> np.ndarray:
    """Return the CIDEr-D of each caption, with document frequencies of the references."""
    scorer = CiderScorer(n=4, sigma=6.0)
    for caption, image in zip(hypotheses, references, strict=True):
        scorer += (_text(caption), [_text(c) for c in image])
    return scorer.compute_score()[1]


def coco_bleu(hypothesis: Caption, references: list[Caption]) -> float:
    """Return the sentence BLEU-4 of one caption."""
    scorer = BleuScorer(n=4)
    scorer += (_text(hypothesis), [_text(c) for c in references])
    return scorer.compute_score(option="closest", verbose=0)[1][3][0]


def _text(caption: Caption) -> str:
    return " ".join(f"w{word}" for word in caption)
