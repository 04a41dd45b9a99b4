"""Captions that are encoded once are those that are encoded each time."""

from hypothesis import given
from hypothesis import strategies as st

from bua.data.encoded import EncodedCaptions
from bua.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(["a", "cat", "dog", "on"], "karpathy")
texts = st.lists(st.sampled_from(["a", "cat", "dog", "on", "zebra", ","]), max_size=6).map(" ".join)


@given(st.lists(st.lists(texts, max_size=4), max_size=5))
def test_each_caption_is_what_the_vocabulary_makes_of_it(images) -> None:
    encoded = EncodedCaptions(images, VOCABULARY)
    assert len(encoded) == len(images)
    assert [encoded[n] for n in range(len(images))] == [
        [VOCABULARY.encode(text) for text in image] for image in images
    ]


def test_a_caption_takes_few_bytes_a_word() -> None:
    encoded = EncodedCaptions([["a dog on a cat"] * 5] * 1000, VOCABULARY)
    bytes_held = sum(len(part) * part.itemsize for part in vars(encoded).values())
    assert bytes_held < 6 * 25_000
