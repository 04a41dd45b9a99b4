"""Encoded captions equal what the vocabulary encodes, in little memory."""

from hypothesis import given
from hypothesis import strategies as st

from bua.data.captions.dataset import EncodedCaptions, encode_captions
from bua.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(["a", "cat", "dog", "on"], "karpathy")
texts = st.lists(st.sampled_from(["a", "cat", "dog", "on", "zebra", ","]), max_size=6).map(" ".join)


@given(st.lists(st.lists(texts, max_size=4), max_size=5))
def test_captions_with_a_word_are_encoded_by_the_vocabulary(images) -> None:
    kept, encoded = encode_captions(dict(enumerate(images)), VOCABULARY)
    expected = {n: [text for text in image if text.strip(" ,")] for n, image in enumerate(images)}
    assert list(kept.items()) == [(n, image) for n, image in expected.items() if image]
    assert len(encoded) == len(kept)
    assert [encoded[n] for n in range(len(encoded))] == [
        [VOCABULARY.encode(text) for text in image] for image in kept.values()
    ]


def test_encoded_captions_take_few_bytes_per_word() -> None:
    encoded = EncodedCaptions()
    for _ in range(1000):
        encoded.append([VOCABULARY.encode("a dog on a cat")] * 5)
    num_bytes = sum(len(part) * part.itemsize for part in vars(encoded).values())
    assert num_bytes < 6 * 25_000
