"""Rewards as tensors against the scorers of coco-caption and an independent implementation."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.cider.cider_scorer import CiderScorer

from bua.metrics.reward import MOST_WORDS, bleu, cider_d, document_frequencies, ngrams, pad, prepare
from tests import parity

Caption = list[int]


def batch(hypotheses: list[list[Caption]], references: list[list[Caption]], table):
    """Tensors of N captions an image, and their references."""
    most = max(len(image) for image in references)
    filled = [image + [[]] * (most - len(image)) for image in references]
    words, lengths = pad([caption for image in hypotheses for caption in image])
    real, _ = pad([caption for image in filled for caption in image])
    there = [[len(c) for c in image] + [-1] * (most - len(image)) for image in references]
    shape = (len(hypotheses), -1)
    prepared = prepare(real.unflatten(0, shape), torch.tensor(there), table)
    return words.unflatten(0, shape), lengths.unflatten(0, shape), prepared


def text(caption: Caption) -> str:
    return " ".join(f"w{word}" for word in caption)


def coco_cider(hypotheses: list[Caption], references: list[list[Caption]]) -> np.ndarray:
    scorer = CiderScorer(n=4, sigma=6.0)
    for caption, image in zip(hypotheses, references, strict=True):
        scorer += (text(caption), [text(c) for c in image])
    return scorer.compute_score()[1]


def coco_bleu(hypothesis: Caption, references: list[Caption]) -> float:
    scorer = BleuScorer(n=4)
    scorer += (text(hypothesis), [text(c) for c in references])
    return scorer.compute_score(option="closest", verbose=0)[1][3][0]


captions = st.lists(st.integers(0, 6), min_size=0, max_size=12)
longer = st.lists(st.integers(0, 6), min_size=1, max_size=12)
images = st.lists(st.tuples(captions, st.lists(longer, min_size=1, max_size=4)), min_size=2, max_size=6)


@settings(max_examples=400, deadline=None)
@given(images)
def test_cider_d_equals_the_scorer_of_coco_caption(found) -> None:
    hypotheses, references = [h for h, _ in found], [r for _, r in found]
    table = document_frequencies(references, 7)
    ours = cider_d(*batch([[h] for h in hypotheses], references, table))[:, 0]
    np.testing.assert_allclose(ours, coco_cider(hypotheses, references), atol=1e-6)


@pytest.mark.parametrize("end", [False, True])
def test_cider_d_equals_the_scorer_on_thousands_of_captions_of_a_large_vocabulary(end: bool) -> None:
    """Words as frequent as words are, of as many as COCO has; empty, cut and repeated captions among them."""
    rng, size = np.random.default_rng(3), 9488

    def caption(least: int) -> Caption:
        words = (rng.zipf(1.4, rng.integers(least, 21)) % (size - 1) + 1).tolist()
        words = words * 2 if rng.random() < 0.1 else words
        return [*words, 0] if end and rng.random() < 0.9 else words

    references = [[caption(1) for _ in range(5)] for _ in range(1500)]
    hypotheses = [
        [*rng.permutation(image[0]).tolist()] if n % 3 else image[1] for n, image in enumerate(references)
    ]
    hypotheses[::7] = [caption(0) for _ in hypotheses[::7]]
    assert [] in hypotheses
    table = document_frequencies(references, size)
    ours = cider_d(*batch([[h] for h in hypotheses], references, table))[:, 0]
    np.testing.assert_allclose(ours, coco_cider(hypotheses, references), atol=1e-6)
    for kind in (ours == 0, (ours > 0) & (ours < 0.1), ours > 2):
        assert kind.any()


@settings(max_examples=300, deadline=None)
@given(images)
def test_bleu_equals_the_scorer_of_coco_caption(found) -> None:
    hypotheses, references = [h for h, _ in found], [r for _, r in found]
    ours = bleu(*batch([[h] for h in hypotheses], references, document_frequencies(references, 7)))[:, 0]
    expected = [coco_bleu(h, r) for h, r in found]
    np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["empty", "one word", "a reference", "cut", "repeated", "unknown n-grams"])
def test_odd_captions_have_the_value_of_the_scorer(kind: str) -> None:
    rng = np.random.default_rng(1)
    references = [[rng.integers(0, 30, rng.integers(3, 12)).tolist() for _ in range(5)] for _ in range(20)]
    odd = {
        "empty": [],
        "one word": [3],
        "a reference": references[0][2],
        "cut": references[0][2][:2],
        "repeated": references[0][1][:2] * 6,
        "unknown n-grams": [29, 29, 29, 29, 29],
    }[kind]
    hypotheses = [odd, *(image[0] for image in references[1:])]
    table = document_frequencies(references, 30)
    ours = cider_d(*batch([[h] for h in hypotheses], references, table))[:, 0]
    np.testing.assert_allclose(ours, coco_cider(hypotheses, references), atol=1e-6)
    assert torch.isfinite(ours).all()


@pytest.mark.parametrize("end", ["with", "without"])
def test_parity_of_cider_d(end: str) -> None:
    file = json.loads(parity.path("cider_d.json").read_text())
    add = [file["eos"]] if end == "with" else []
    references = [[caption + add for caption in image] for image in file["references"]]
    hypotheses = [[caption + add] for caption in file["hypotheses"]]
    table = document_frequencies(references, file["vocab_size"] + 1)
    ours = cider_d(*batch(hypotheses, references, table))[:, 0]
    np.testing.assert_allclose(ours, file[f"cider_d_{end}_eos"], atol=1e-6)


def test_captions_of_one_image_do_not_change_each_other() -> None:
    rng = np.random.default_rng(0)
    references = [[rng.integers(0, 9, 8).tolist() for _ in range(3)] for _ in range(4)]
    table = document_frequencies(references, 9)
    said = [[rng.integers(0, 9, rng.integers(1, 9)).tolist() for _ in range(5)] for _ in range(4)]
    together = cider_d(*batch(said, references, table))
    for n in range(5):
        alone = cider_d(*batch([[image[n]] for image in said], references, table))
        torch.testing.assert_close(together[:, n], alone[:, 0])


def test_words_behind_the_end_do_not_count() -> None:
    references = [[[1, 2, 3, 4]], [[5, 6, 7]]]
    table = document_frequencies(references, 9)
    words, *rest = batch([[[1, 2, 3]], [[5, 6]]], references, table)
    other = torch.cat([words, torch.full_like(words, 8)], 2)
    torch.testing.assert_close(cider_d(words, *rest), cider_d(other, *rest))
    torch.testing.assert_close(bleu(words, *rest), bleu(other, *rest))


def test_different_n_grams_are_different_numbers_at_the_largest_vocabulary() -> None:
    last = MOST_WORDS - 1
    ends = torch.tensor([[0, 0, 0, last], [0, 0, 1, 0], [last] * 4, [last, last, last, 0]])
    keys = ngrams(ends, torch.full((4,), 4), MOST_WORDS)
    four = keys[3, :, 0].tolist()
    powers = (3, 2, 1, 0)
    expected = [sum(w * MOST_WORDS**p for w, p in zip(row, powers, strict=True)) for row in ends.tolist()]
    assert four == [value + 3 * MOST_WORDS**4 for value in expected]
    assert max(four) < 2**63 - 1
    assert keys[2].max() == 2**63 - 1  # nothing stands behind the last three words
    one = {int(key) for key in keys[0].flatten() if key < 2**63 - 1}
    assert not one & set(four)


def test_frequencies_count_images_and_know_what_they_are_of() -> None:
    references = [[[1, 2], [1, 2, 1]], [[1, 3]], [[2]]]
    table = document_frequencies(references, 5)
    found = dict(zip(table.keys.tolist(), table.counts.tolist(), strict=True))
    assert {key: n for key, n in found.items() if key < 5} == {1: 2, 2: 2, 3: 1}
    assert table.images == 3
    assert table.idf(torch.tensor([1, 4])).tolist() == pytest.approx([math.log(3 / 2), math.log(3)])
    assert table.signature == document_frequencies(references, 5).signature
    assert table.signature != document_frequencies(references, 6).signature
    assert table.signature != document_frequencies(references[:2], 5).signature


@pytest.mark.parametrize(
    ("references", "size", "message"),
    [([], 5, "no captions"), ([[[7]]], 5, "word 7 of a vocabulary of 5"), ([[[1]]], 60000, "at most 38,967")],
)
def test_impossible_frequencies_are_refused(references, size, message) -> None:
    with pytest.raises(ValueError, match=message):
        document_frequencies(references, size)


def test_n_grams_of_one_image_weigh_as_those_of_none() -> None:
    table = document_frequencies([[[1, 2, 3]], [[1, 2]], [[4]]], 9)
    assert len(table.common) < len(table.keys)
    places = torch.searchsorted(table.keys, table.keys)
    wanted = math.log(3) - table.counts[places].double().log()
    torch.testing.assert_close(table.idf(table.keys), wanted)
    nothing_twice = document_frequencies([[[1]], [[2]]], 9)
    assert nothing_twice.idf(torch.tensor([1, 2, 3])).tolist() == pytest.approx([math.log(2)] * 3)
