"""The scorers of coco-caption for captions as word indices."""

import numpy as np
import torch
from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.cider.cider_scorer import CiderScorer

from bua.metrics.reward import pad_captions, prepare_references

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


def reward_batch(hypotheses: list[list[Caption]], references: list[list[Caption]], table):
    """Return the words and lengths of N captions per image, and their references."""
    size = max(len(image) for image in references)
    padded = [image + [[]] * (size - len(image)) for image in references]
    words, lengths = pad_captions([caption for image in hypotheses for caption in image])
    reference_words, _ = pad_captions([caption for image in padded for caption in image])
    reference_lengths = [[len(c) for c in image] + [-1] * (size - len(image)) for image in references]
    shape = (len(hypotheses), -1)
    prepared = prepare_references(reference_words.unflatten(0, shape), torch.tensor(reference_lengths), table)
    return words.unflatten(0, shape), lengths.unflatten(0, shape), prepared
