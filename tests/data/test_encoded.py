"""Captions that are encoded once are those that are encoded each time."""

from hypothesis import given
from hypothesis import strategies as st

from bua.data.captions.dataset import EncodedCaptions, encode_captions
from bua.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(["a", "cat", "dog", "on"], "karpathy")
texts = st.lists(st.sampled_from(["a", "cat", "dog", "on", "zebra", ","]), max_size=6).map(" ".join)


@given(st.lists(st.lists(texts, max_size=4), max_size=5))
def test_each_caption_with_a_word_is_what_the_vocabulary_makes_of_it(images) -> None:
    spoken, encoded = encode_captions(dict(enumerate(images)), VOCABULARY)
    wanted = {n: [text for text in image if text.strip(" ,")] for n, image in enumerate(images)}
    assert list(spoken.items()) == [(n, image) for n, image in wanted.items() if image]
    assert len(encoded) == len(spoken)
    assert [encoded[n] for n in range(len(encoded))] == [
        [VOCABULARY.encode(text) for text in image] for image in spoken.values()
    ]


def test_a_caption_takes_few_bytes_a_word() -> None:
    encoded = EncodedCaptions()
    for _ in range(1000):
        encoded.append([VOCABULARY.encode("a dog on a cat")] * 5)
    bytes_held = sum(len(part) * part.itemsize for part in vars(encoded).values())
    assert bytes_held < 6 * 25_000
