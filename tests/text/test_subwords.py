"""Subword tokenization: encoding, decoding, storage and error messages."""

import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import SentencePieceTrainer

from bua.data.captions.constraints import read_constraints
from bua.data.captions.datamodule import VocabularyOptions
from bua.data.captions.document_frequencies import caption_frequencies
from bua.data.captions.files import read_captions
from bua.errors import InputError
from bua.inference.predictor import merge_subword_attention
from bua.text.subwords import WORD_START, SubwordModel, join_subwords, lowercase_and_strip_accents
from bua.text.vocabulary import EOS, UNKNOWN, Vocabulary

TEXTS = ["A cat on a mat.", "Two cats sit on mats, a dog stands.", "Un café on a táble"]
VOCABULARY = Vocabulary.from_subwords(SubwordModel.train(TEXTS, 30))
LETTERS = st.text("acdmnost", min_size=1, max_size=9)
OPTIONS = {"tokenizer": "sentencepiece", "min_count": 1, "count_from": "train"}


@given(st.lists(LETTERS, min_size=1, max_size=8))
def test_words_of_known_letters_come_back_whole(words) -> None:
    encoded = VOCABULARY.encode(" ".join(words))
    assert UNKNOWN not in encoded
    assert VOCABULARY.decode([*encoded, EOS, 7]) == words


@given(st.lists(st.sampled_from([*VOCABULARY.words, WORD_START]), max_size=12))
def test_every_subword_but_an_empty_last_one_belongs_to_one_word(subwords) -> None:
    words = join_subwords(subwords)
    assert all(word and not word.startswith(WORD_START) for word, _ in words)
    used = sum(count for _, count in words)
    assert not "".join(subwords[used:]).replace(WORD_START, "")
    assert "".join(word for word, _ in words) == "".join(subwords).replace(WORD_START, "")


def test_subwords_join_to_words_with_their_lengths() -> None:
    assert join_subwords(["▁", "cat", "s", "▁on"]) == [("cats", 3), ("on", 1)]
    assert join_subwords(["s", "▁on", "▁"]) == [("s", 1), ("on", 1)]
    assert join_subwords([]) == []


def test_case_and_accents_are_dropped_before_tokenization() -> None:
    assert lowercase_and_strip_accents("Café TÁBLE") == "cafe table"
    assert VOCABULARY.encode("CAFÉ") == VOCABULARY.encode("cafe")


def test_an_unseen_letter_is_unknown_and_the_rest_of_its_word_is_not() -> None:
    encoded = VOCABULARY.encode("caz")
    assert UNKNOWN in encoded
    assert VOCABULARY.decode(encoded) == ["ca<unk>"]


def test_index_is_that_of_a_whole_word_and_not_of_a_subword_within_one() -> None:
    assert "a" in VOCABULARY.words
    assert VOCABULARY.words[VOCABULARY.index("a")] == "▁a"
    assert VOCABULARY.index("dog") is None or VOCABULARY.words[VOCABULARY.index("dog")] == "▁dog"
    assert VOCABULARY.index("o") is None


def test_a_subword_vocabulary_survives_saving_and_tokenizes_as_before(tmp_path) -> None:
    VOCABULARY.save(tmp_path / "v.json")
    loaded = Vocabulary.load(tmp_path / "v.json")
    assert loaded == VOCABULARY
    assert [loaded.encode(text) for text in TEXTS] == [VOCABULARY.encode(text) for text in TEXTS]


def test_the_hash_depends_on_the_model_and_not_only_on_its_subwords() -> None:
    buffer = io.BytesIO()
    options = {"model_type": "bpe", "bos_id": -1, "eos_id": -1, "normalization_rule_name": "identity"}
    lines = map(lowercase_and_strip_accents, TEXTS)
    SentencePieceTrainer.train(sentence_iterator=lines, model_writer=buffer, vocab_size=31, **options)
    other = Vocabulary.from_subwords(SubwordModel(buffer.getvalue()))
    assert other.words == VOCABULARY.words
    assert other != VOCABULARY


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("%%", "is not valid base64"),
        ("AAAA", "not a SentencePiece model"),
        (3, "model is 3, expected a string"),
    ],
)
def test_a_damaged_model_is_refused_in_one_line(model, message, tmp_path) -> None:
    content = {**VOCABULARY.to_dict(), "model": model}
    (tmp_path / "v.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"v.json.*{message}"):
        Vocabulary.load(tmp_path / "v.json")


def test_model_file_of_another_project_is_read(tmp_path) -> None:
    (tmp_path / "coco.model").write_bytes(VOCABULARY.subword_model.serialized)
    options = VocabularyOptions(**OPTIONS, file=str(tmp_path / "coco.model"))
    assert options.build(*[None] * 3) == VOCABULARY


def test_a_file_that_is_not_a_model_is_refused_in_one_line(tmp_path) -> None:
    (tmp_path / "coco.model").write_bytes(b"\x00\x01")
    for name, message in (("coco", "not a SentencePiece model"), ("no", "No such file")):
        with pytest.raises(InputError, match=rf"{name}\.model: {message}"):
            VocabularyOptions(**OPTIONS, file=str(tmp_path / f"{name}.model")).build(*[None] * 3)


@pytest.mark.parametrize(
    ("size", "message"),
    [(3000, r"3,000 subwords .*, at most \d+;"), (5, r"5 subwords .*, at least \d+ ")],
)
def test_an_impossible_number_of_subwords_is_refused_in_one_line(size, message) -> None:
    with pytest.raises(InputError, match=message):
        SubwordModel.train(TEXTS, size)


def test_the_limit_in_the_message_is_possible() -> None:
    with pytest.raises(InputError, match="at most") as caught:
        SubwordModel.train(TEXTS, 3000)
    limit = int(str(caught.value).split(", at most ")[1].split(";")[0])
    assert len(SubwordModel.train(TEXTS, limit).subwords) == limit


def test_a_missing_sentencepiece_is_named_in_one_line(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sentencepiece", None)
    with pytest.raises(InputError, match=r"pip install 'bua\[sentencepiece\]'"):
        SubwordModel.train(TEXTS, 30)


def test_the_sentencepiece_tokenizer_requires_a_model() -> None:
    with pytest.raises(InputError, match="requires a model"):
        Vocabulary(["a"], "sentencepiece")
    with pytest.raises(InputError, match="needs the number of subwords"):
        VocabularyOptions(**OPTIONS)


def test_rewards_and_constraints_refuse_subwords_in_one_line(tmp_path) -> None:
    with pytest.raises(InputError, match="rewards compare whole words"):
        caption_frequencies({1: TEXTS, 2: TEXTS}, VOCABULARY, include_eos=True)
    with pytest.raises(InputError, match=r"c\.json: constraints are whole words"):
        read_constraints(tmp_path / "c.json", VOCABULARY, print)


@given(st.lists(st.integers(1, 4), max_size=6), st.integers(0, 3))
def test_attention_of_a_word_is_the_mean_over_its_subwords(lengths, after) -> None:
    weights = np.random.default_rng(len(lengths)).random((sum(lengths) + after, 3), np.float32)
    merged, start = merge_subword_attention(weights, lengths), 0
    assert merged.shape == (len(lengths), 3)
    for row, length in zip(merged, lengths, strict=True):
        np.testing.assert_allclose(row, weights[start : start + length].mean(0), rtol=1e-6)
        start += length


def test_real_captions_give_a_vocabulary_of_the_published_size(shared) -> None:
    file = read_captions(shared / "data/coco_captions_val2017/captions_val2017.json")
    vocabulary = VocabularyOptions(**OPTIONS, size=10_000).build(file, file, [file])
    assert len(vocabulary) == 10_000
    texts = [text for texts in file.captions.values() for text in texts[:1]]
    for text in texts[:500]:
        assert UNKNOWN not in vocabulary.encode(text)
        assert vocabulary.decode(vocabulary.encode(text)) == lowercase_and_strip_accents(text).split()
