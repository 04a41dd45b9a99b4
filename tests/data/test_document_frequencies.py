"""Files of document frequencies are valid only for their captions, vocabulary and tokenizer."""

import pytest
import torch

from bua.data.captions.document_frequencies import caption_frequencies, save_frequencies
from bua.errors import InputError
from bua.text.vocabulary import Vocabulary


@pytest.mark.parametrize("change", ["captions", "vocabulary", "include_eos", "tokenizer"])
def test_frequencies_of_other_captions_are_refused(change, tmp_path) -> None:
    captions, words = {1: ["a dog", "the cat"], 2: ["a cat"]}, ["a", "cat", "dog", "the"]
    vocabulary = Vocabulary(words, "karpathy")
    path = tmp_path / "f.npz"
    table = caption_frequencies(captions, vocabulary, include_eos=True)
    save_frequencies(table, captions, vocabulary, include_eos=True, path=path)
    assert caption_frequencies(captions, vocabulary, include_eos=True, path=path).signature == table.signature
    include_eos = change != "include_eos"
    if change == "captions":
        captions = {1: ["a dog"], 2: ["a cat"]}
    if change == "vocabulary":
        vocabulary = Vocabulary(["dog", *words[:2], "the"], "karpathy")
    if change == "tokenizer":
        vocabulary = Vocabulary(words, "caffe")
    with pytest.raises(InputError, match=r"f\.npz: document frequencies of .*those of these captions"):
        caption_frequencies(captions, vocabulary, include_eos=include_eos, path=path)


@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x03\x04 cut"])
def test_damaged_files_are_reported(content, tmp_path) -> None:
    path = tmp_path / "f.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"f\.npz: not a file of document frequencies"):
        caption_frequencies({1: ["a"], 2: ["a"]}, Vocabulary(["a"], "karpathy"), include_eos=True, path=path)


def test_at_least_two_images_are_needed() -> None:
    with pytest.raises(InputError, match="at least two images"):
        caption_frequencies({1: ["a dog"]}, Vocabulary(["a", "dog"], "karpathy"), include_eos=True)


def test_changed_frequencies_are_refused(tmp_path) -> None:
    captions, vocabulary = {1: ["a dog"], 2: ["a"]}, Vocabulary(["a", "dog"], "karpathy")
    table, path = caption_frequencies(captions, vocabulary, include_eos=True), tmp_path / "f.npz"
    changed = table._replace(counts=torch.ones_like(table.counts))
    save_frequencies(changed, captions, vocabulary, include_eos=True, path=path)
    with pytest.raises(InputError, match=r"f\.npz: its numbers have changed since they were written"):
        caption_frequencies(captions, vocabulary, include_eos=True, path=path)
