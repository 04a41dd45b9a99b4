"""Batched rewards, compared with the scorers of coco-caption and an independent implementation."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.metrics.reward import (
    MAX_VOCABULARY_SIZE,
    bleu,
    cider_d,
    document_frequencies,
    ngrams,
)
from tests.helpers import parity
from tests.helpers.coco_scorers import Caption, coco_bleu, coco_cider, reward_batch

captions = st.lists(st.integers(0, 6), min_size=0, max_size=12)
non_empty = st.lists(st.integers(0, 6), min_size=1, max_size=12)
images = st.lists(st.tuples(captions, st.lists(non_empty, min_size=1, max_size=4)), min_size=2, max_size=6)


@settings(max_examples=400, deadline=None)
@given(images)
def test_cider_d_equals_the_scorer_of_coco_caption(pairs) -> None:
    hypotheses, references = [h for h, _ in pairs], [r for _, r in pairs]
    table = document_frequencies(references, 7)
    ours = cider_d(*reward_batch([[h] for h in hypotheses], references, table))[:, 0]
    np.testing.assert_allclose(ours, coco_cider(hypotheses, references), atol=1e-6)


@pytest.mark.parametrize("end", [False, True])
def test_cider_d_equals_the_scorer_on_thousands_of_captions_of_a_large_vocabulary(end: bool) -> None:
    """Realistic word frequencies and vocabulary size, with empty, truncated and repetitive captions."""
    rng, size = np.random.default_rng(3), 9488

    def caption(min_length: int) -> Caption:
        words = (rng.zipf(1.4, rng.integers(min_length, 21)) % (size - 1) + 1).tolist()
        words = words * 2 if rng.random() < 0.1 else words
        return [*words, 0] if end and rng.random() < 0.9 else words

    references = [[caption(1) for _ in range(5)] for _ in range(1500)]
    hypotheses = [
        [*rng.permutation(image[0]).tolist()] if n % 3 else image[1] for n, image in enumerate(references)
    ]
    hypotheses[::7] = [caption(0) for _ in hypotheses[::7]]
    assert [] in hypotheses
    table = document_frequencies(references, size)
    ours = cider_d(*reward_batch([[h] for h in hypotheses], references, table))[:, 0]
    np.testing.assert_allclose(ours, coco_cider(hypotheses, references), atol=1e-6)
    for score_range in (ours == 0, (ours > 0) & (ours < 0.1), ours > 2):
        assert score_range.any()


@settings(max_examples=300, deadline=None)
@given(images)
def test_bleu_equals_the_scorer_of_coco_caption(pairs) -> None:
    hypotheses, references = [h for h, _ in pairs], [r for _, r in pairs]
    table = document_frequencies(references, 7)
    ours = bleu(*reward_batch([[h] for h in hypotheses], references, table))[:, 0]
    expected = [coco_bleu(h, r) for h, r in pairs]
    np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize(
    "kind", ["empty", "one word", "a reference", "truncated", "repetitive", "unknown n-grams"]
)
def test_unusual_captions_have_the_value_of_the_scorer(kind: str) -> None:
    rng = np.random.default_rng(1)
    references = [[rng.integers(0, 30, rng.integers(3, 12)).tolist() for _ in range(5)] for _ in range(20)]
    unusual = {
        "empty": [],
        "one word": [3],
        "a reference": references[0][2],
        "truncated": references[0][2][:2],
        "repetitive": references[0][1][:2] * 6,
        "unknown n-grams": [29, 29, 29, 29, 29],
    }[kind]
    hypotheses = [unusual, *(image[0] for image in references[1:])]
    table = document_frequencies(references, 30)
    ours = cider_d(*reward_batch([[h] for h in hypotheses], references, table))[:, 0]
    np.testing.assert_allclose(ours, coco_cider(hypotheses, references), atol=1e-6)
    assert torch.isfinite(ours).all()


@pytest.mark.parametrize("end", ["with", "without"])
def test_parity_of_cider_d(end: str) -> None:
    file = json.loads(parity.path("cider_d.json").read_text())
    suffix = [file["eos"]] if end == "with" else []
    references = [[caption + suffix for caption in image] for image in file["references"]]
    hypotheses = [[caption + suffix] for caption in file["hypotheses"]]
    table = document_frequencies(references, file["vocab_size"] + 1)
    ours = cider_d(*reward_batch(hypotheses, references, table))[:, 0]
    np.testing.assert_allclose(ours, file[f"cider_d_{end}_eos"], atol=1e-6)


def test_captions_of_an_image_are_scored_independently() -> None:
    rng = np.random.default_rng(0)
    references = [[rng.integers(0, 9, 8).tolist() for _ in range(3)] for _ in range(4)]
    table = document_frequencies(references, 9)
    hypotheses = [[rng.integers(0, 9, rng.integers(1, 9)).tolist() for _ in range(5)] for _ in range(4)]
    scores = cider_d(*reward_batch(hypotheses, references, table))
    for n in range(5):
        single = cider_d(*reward_batch([[image[n]] for image in hypotheses], references, table))
        torch.testing.assert_close(scores[:, n], single[:, 0])


def test_words_beyond_the_length_are_ignored() -> None:
    references = [[[1, 2, 3, 4]], [[5, 6, 7]]]
    table = document_frequencies(references, 9)
    words, *rest = reward_batch([[[1, 2, 3]], [[5, 6]]], references, table)
    longer = torch.cat([words, torch.full_like(words, 8)], 2)
    torch.testing.assert_close(cider_d(words, *rest), cider_d(longer, *rest))
    torch.testing.assert_close(bleu(words, *rest), bleu(longer, *rest))


def test_n_grams_have_unique_codes_at_the_largest_vocabulary() -> None:
    last = MAX_VOCABULARY_SIZE - 1
    words = torch.tensor([[0, 0, 0, last], [0, 0, 1, 0], [last] * 4, [last, last, last, 0]])
    keys = ngrams(words, torch.full((4,), 4), MAX_VOCABULARY_SIZE)
    fourgrams = keys[3, :, 0].tolist()
    powers = (3, 2, 1, 0)
    expected = [
        sum(w * MAX_VOCABULARY_SIZE**p for w, p in zip(row, powers, strict=True)) for row in words.tolist()
    ]
    assert fourgrams == [value + 3 * MAX_VOCABULARY_SIZE**4 for value in expected]
    assert max(fourgrams) < 2**63 - 1
    assert keys[2].max() == 2**63 - 1  # padding after the last trigram
    unigrams = {int(key) for key in keys[0].flatten() if key < 2**63 - 1}
    assert not unigrams & set(fourgrams)


def test_frequencies_count_images_and_have_a_signature() -> None:
    references = [[[1, 2], [1, 2, 1]], [[1, 3]], [[2]]]
    table = document_frequencies(references, 5)
    counts = dict(zip(table.keys.tolist(), table.counts.tolist(), strict=True))
    assert {key: n for key, n in counts.items() if key < 5} == {1: 2, 2: 2, 3: 1}
    assert table.num_images == 3
    assert table.idf(torch.tensor([1, 4])).tolist() == pytest.approx([math.log(3 / 2), math.log(3)])
    assert table.signature == document_frequencies(references, 5).signature
    assert table.signature != document_frequencies(references, 6).signature
    assert table.signature != document_frequencies(references[:2], 5).signature


@pytest.mark.parametrize(
    ("references", "size", "message"),
    [
        ([], 5, "no captions"),
        ([[[7]]], 5, "word index 7 is outside of a vocabulary of 5"),
        ([[[1]]], 60000, "at most 38,967"),
    ],
)
def test_impossible_frequencies_are_refused(references, size, message) -> None:
    with pytest.raises(ValueError, match=message):
        document_frequencies(references, size)


def test_n_grams_of_one_image_weigh_as_much_as_unseen_ones() -> None:
    table = document_frequencies([[[1, 2, 3]], [[1, 2]], [[4]]], 9)
    assert len(table.common) < len(table.keys)
    expected = math.log(3) - table.counts.double().log()
    torch.testing.assert_close(table.idf(table.keys), expected)
    all_rare = document_frequencies([[[1]], [[2]]], 9)
    assert all_rare.idf(torch.tensor([1, 2, 3])).tolist() == pytest.approx([math.log(2)] * 3)
