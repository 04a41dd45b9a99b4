"""Pieces of words: what texts become, and what comes back of them."""

import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import SentencePieceTrainer

from bua.data.captions.constraints import read_constraints
from bua.data.captions.document_frequencies import caption_frequencies
from bua.data.captions.files import read_captions
from bua.data.captions.vocabulary import VocabularyOptions
from bua.errors import InputError
from bua.inference.outputs import merge_subword_attention
from bua.text.subwords import WORD_START, SubwordModel, joined, plain
from bua.text.vocabulary import EOS, UNKNOWN, Vocabulary

TEXTS = ["A cat on a mat.", "Two cats sit on mats, a dog stands.", "Un café on a táble"]
VOCABULARY = Vocabulary.of_pieces(SubwordModel.learn(TEXTS, 30))
LETTERS = st.text("acdmnost", min_size=1, max_size=9)
RULE = {"tokenizer": "sentencepiece", "min_count": 1, "counted": "train"}


@given(st.lists(LETTERS, min_size=1, max_size=8))
def test_words_of_known_letters_come_back_whole(words) -> None:
    encoded = VOCABULARY.encode(" ".join(words))
    assert UNKNOWN not in encoded
    assert VOCABULARY.decode([*encoded, EOS, 7]) == words


@given(st.lists(st.sampled_from([*VOCABULARY.words, WORD_START]), max_size=12))
def test_every_piece_but_an_empty_last_one_is_of_one_word(pieces) -> None:
    found = joined(pieces)
    assert all(word and not word.startswith(WORD_START) for word, _ in found)
    used = sum(count for _, count in found)
    assert not "".join(pieces[used:]).replace(WORD_START, "")
    assert "".join(word for word, _ in found) == "".join(pieces).replace(WORD_START, "")


def test_a_word_in_pieces_is_one_word_of_two_pieces() -> None:
    assert joined(["▁", "cat", "s", "▁on"]) == [("cats", 3), ("on", 1)]
    assert joined(["s", "▁on", "▁"]) == [("s", 1), ("on", 1)]
    assert joined([]) == []


def test_letters_lose_case_and_accents_before_pieces_are_made() -> None:
    assert plain("Café TÁBLE") == "cafe table"
    assert VOCABULARY.encode("CAFÉ") == VOCABULARY.encode("cafe")


def test_a_letter_that_was_never_seen_is_unknown_and_the_rest_of_its_word_is_not() -> None:
    encoded = VOCABULARY.encode("caz")
    assert UNKNOWN in encoded
    assert VOCABULARY.decode(encoded) == ["ca<unk>"]


def test_index_is_that_of_a_whole_word_and_not_of_a_piece_within_one() -> None:
    assert "a" in VOCABULARY.words
    assert VOCABULARY.words[VOCABULARY.index("a")] == "▁a"
    assert VOCABULARY.index("dog") is None or VOCABULARY.words[VOCABULARY.index("dog")] == "▁dog"
    assert VOCABULARY.index("o") is None


def test_vocabulary_of_pieces_is_read_as_it_was_written_and_splits_as_before(tmp_path) -> None:
    VOCABULARY.save(tmp_path / "v.json")
    again = Vocabulary.load(tmp_path / "v.json")
    assert again == VOCABULARY
    assert [again.encode(text) for text in TEXTS] == [VOCABULARY.encode(text) for text in TEXTS]


def test_hash_knows_the_model_and_not_only_its_pieces() -> None:
    written = io.BytesIO()
    options = {"model_type": "bpe", "bos_id": -1, "eos_id": -1, "normalization_rule_name": "identity"}
    lines = map(plain, TEXTS)
    SentencePieceTrainer.train(sentence_iterator=lines, model_writer=written, vocab_size=31, **options)
    other = Vocabulary.of_pieces(SubwordModel(written.getvalue()))
    assert other.words == VOCABULARY.words
    assert other != VOCABULARY


@pytest.mark.parametrize(
    ("model", "said"), [("%%", "is not in base64"), ("AAAA", "not a model of SentencePiece"), (3, "base64")]
)
def test_damaged_model_is_one_line(model, said, tmp_path) -> None:
    content = {**VOCABULARY.to_dict(), "model": model}
    (tmp_path / "v.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"v.json.*{said}"):
        Vocabulary.load(tmp_path / "v.json")


def test_model_file_of_another_project_is_read(tmp_path) -> None:
    (tmp_path / "coco.model").write_bytes(VOCABULARY.pieces.model)
    rule = VocabularyOptions(**RULE, file=str(tmp_path / "coco.model"))
    assert rule.vocabulary(*[None] * 3) == VOCABULARY


def test_model_file_that_is_none_is_one_line(tmp_path) -> None:
    (tmp_path / "coco.model").write_bytes(b"\x00\x01")
    for name, said in (("coco", "not a model of SentencePiece"), ("no", "No such file")):
        with pytest.raises(InputError, match=rf"{name}\.model: {said}"):
            VocabularyOptions(**RULE, file=str(tmp_path / f"{name}.model")).vocabulary(*[None] * 3)


@pytest.mark.parametrize(
    ("size", "said"),
    [(3000, r"3,000 pieces of words but \d+ at most"), (5, r"5 pieces of words but \d+ at least")],
)
def test_more_or_fewer_pieces_than_texts_give_are_one_line(size, said) -> None:
    with pytest.raises(InputError, match=said):
        SubwordModel.learn(TEXTS, size)


def test_limits_that_are_said_are_kept() -> None:
    with pytest.raises(InputError, match="at most") as caught:
        SubwordModel.learn(TEXTS, 3000)
    most = int(str(caught.value).split(" but ")[1].split()[0])
    assert len(SubwordModel.learn(TEXTS, most).words) == most


def test_without_sentencepiece_it_is_asked_for_in_one_line(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sentencepiece", None)
    with pytest.raises(InputError, match=r"pip install 'bua\[sentencepiece\]'"):
        SubwordModel.learn(TEXTS, 30)


def test_a_tokenizer_of_pieces_alone_has_no_model() -> None:
    with pytest.raises(InputError, match="needs its model"):
        Vocabulary(["a"], "sentencepiece")
    with pytest.raises(InputError, match="needs a number of pieces"):
        VocabularyOptions(**RULE)


def test_rewards_and_constraints_of_pieces_are_refused_in_one_line(tmp_path) -> None:
    with pytest.raises(InputError, match="rewards compare whole words"):
        caption_frequencies({1: TEXTS, 2: TEXTS}, VOCABULARY, end=True)
    with pytest.raises(InputError, match=r"c\.json: constraints are whole words"):
        read_constraints(tmp_path / "c.json", VOCABULARY, print)


@given(st.lists(st.integers(1, 4), max_size=6), st.integers(0, 3))
def test_weights_of_a_word_are_the_mean_of_those_of_its_pieces(lengths, after) -> None:
    weights = np.random.default_rng(len(lengths)).random((sum(lengths) + after, 3), np.float32)
    found, start = merge_subword_attention(weights, lengths), 0
    assert found.shape == (len(lengths), 3)
    for row, length in zip(found, lengths, strict=True):
        np.testing.assert_allclose(row, weights[start : start + length].mean(0), rtol=1e-6)
        start += length


def test_size_is_that_of_the_published_vocabulary_on_real_captions(shared) -> None:
    file = read_captions(shared / "data/coco_captions_val2017/captions_val2017.json")
    vocabulary = VocabularyOptions(**RULE, size=10_000).vocabulary(file, file, [file])
    assert len(vocabulary) == 10_000
    texts = [text for texts in file.captions.values() for text in texts[:1]]
    for text in texts[:500]:
        assert UNKNOWN not in vocabulary.encode(text)
        assert vocabulary.decode(vocabulary.encode(text)) == plain(text).split()
