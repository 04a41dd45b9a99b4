"""Document frequencies in a file belong to their captions, their vocabulary and their tokeniser."""

import pytest
import torch

from bua.data.captions.document_frequencies import caption_frequencies, save_frequencies
from bua.errors import InputError
from bua.text.vocabulary import Vocabulary


@pytest.mark.parametrize("change", ["captions", "vocabulary", "end", "tokenizer"])
def test_frequencies_of_something_else_are_refused_in_one_line(change, tmp_path) -> None:
    captions, words = {1: ["a dog", "the cat"], 2: ["a cat"]}, ["a", "cat", "dog", "the"]
    vocabulary = Vocabulary(words, "karpathy")
    path = tmp_path / "f.npz"
    table = caption_frequencies(captions, vocabulary, end=True)
    save_frequencies(table, captions, vocabulary, end=True, path=path)
    assert caption_frequencies(captions, vocabulary, end=True, path=path).signature == table.signature
    end = change != "end"
    if change == "captions":
        captions = {1: ["a dog"], 2: ["a cat"]}
    if change == "vocabulary":
        vocabulary = Vocabulary(["dog", *words[:2], "the"], "karpathy")
    if change == "tokenizer":
        vocabulary = Vocabulary(words, "caffe")
    with pytest.raises(InputError, match=r"f\.npz: document frequencies of .*those of these captions"):
        caption_frequencies(captions, vocabulary, end=end, path=path)


@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x03\x04 cut"])
def test_damaged_frequencies_are_one_line(content, tmp_path) -> None:
    path = tmp_path / "f.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"f\.npz: not a file of document frequencies"):
        caption_frequencies({1: ["a"], 2: ["a"]}, Vocabulary(["a"], "karpathy"), end=True, path=path)


def test_captions_of_one_image_make_no_rewards() -> None:
    with pytest.raises(InputError, match="two images at least"):
        caption_frequencies({1: ["a dog"]}, Vocabulary(["a", "dog"], "karpathy"), end=True)


def test_frequencies_that_were_changed_are_refused(tmp_path) -> None:
    captions, vocabulary = {1: ["a dog"], 2: ["a"]}, Vocabulary(["a", "dog"], "karpathy")
    table, path = caption_frequencies(captions, vocabulary, end=True), tmp_path / "f.npz"
    changed = table._replace(counts=torch.ones_like(table.counts))
    save_frequencies(changed, captions, vocabulary, end=True, path=path)
    with pytest.raises(InputError, match="not those that were written"):
        caption_frequencies(captions, vocabulary, end=True, path=path)
