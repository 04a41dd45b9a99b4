"""Tokenizers and word vocabularies."""

import json
import string
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.errors import InputError
from bua.text import BOS, EOS, PADDING, TOKENIZERS, UNKNOWN, Vocabulary, tokenize
from bua.text.tokenize import PTB_PUNCTUATION, caffe, karpathy, nltk, ptb_like, spacy, vqa

TEXT = st.text(max_size=60)
WORDS = st.lists(st.text(string.ascii_lowercase, min_size=1, max_size=4), max_size=12)


def test_karpathy_deletes_punctuation_inside_words_too() -> None:
    assert karpathy("A man's T-shirt, (red).") == ["a", "mans", "tshirt", "red"]


def test_caffe_keeps_punctuation_splits_runs_and_drops_one_period_at_the_end() -> None:
    assert caffe("A dog, sitting.") == ["a", "dog", ",", "sitting"]
    assert caffe("Wow!? A dog... here") == ["wow", "!", "?", "a", "dog", "...", "here"]
    assert caffe("the man's hat") == ["the", "man", "'", "s", "hat"]


def test_ptb_like_splits_contractions_and_drops_what_the_scorer_drops_but_no_brackets() -> None:
    assert ptb_like("A man isn't here; he's (away).") == [
        "a",
        "man",
        "is",
        "n't",
        "here",
        "he",
        "'s",
        "-lrb-",
        "away",
        "-rrb-",
    ]


def test_nltk_keeps_hyphens_and_drops_round_brackets() -> None:
    assert nltk('A man isn\'t "here", he is [far] (away).') == [
        *["a", "man", "is", "n't", "here", "he", "is", "[", "far", "]", "away"],
    ]
    assert nltk("A T-shirt - or two -- in {red}!") == ["a", "t-shirt", "or", "two", "in", "red"]


def test_nltk_treats_a_text_as_one_sentence() -> None:
    assert nltk("A cat. A dog.") == ["a", "cat.", "a", "dog"]


def test_spacy_drops_punctuation_but_not_brackets(monkeypatch) -> None:
    """The tokenizer of spaCy is mocked."""
    calls = []

    def tokenizer(text: str) -> list[SimpleNamespace]:
        calls.append(text)
        return [SimpleNamespace(text=word) for word in text.split()]

    monkeypatch.setitem(
        sys.modules, "spacy", SimpleNamespace(blank=lambda name: SimpleNamespace(tokenizer=tokenizer))
    )
    tokenize._spacy_tokenizer.cache_clear()
    assert spacy("A  cat , ( or .. two ) - here .\n") == ["a", "cat", "(", "or", "two", ")", "here"]
    assert calls == ["a cat , ( or .. two ) - here ."]
    tokenize._spacy_tokenizer.cache_clear()


def test_a_missing_spacy_is_named_in_one_line(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    tokenize._spacy_tokenizer.cache_clear()
    with pytest.raises(InputError, match=r"pip install 'bua\[spacy\]'"):
        spacy("a cat")


def test_vqa_splits_off_the_genitive() -> None:
    assert vqa("What's the man's hat, or cap?") == ["what", "'s", "the", "man", "'s", "hat", "or", "cap"]


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@settings(deadline=None)  # the first example loads spaCy
@given(text=TEXT)
def test_tokens_are_lowercase_without_whitespace(name: str, text: str) -> None:
    for token in TOKENIZERS[name](text):
        assert token
        assert not set(token) & set(" \t\n")
        assert token == token.lower() or name == "ptb_like"


def test_tokenizers_are_listed() -> None:
    assert set(TOKENIZERS) == {"karpathy", "caffe", "ptb_like", "nltk", "spacy", "vqa"}


@given(text=TEXT)
def test_ptb_like_never_returns_dropped_punctuation(text: str) -> None:
    assert not set(ptb_like(text)) & PTB_PUNCTUATION


def test_ptb_like_equals_the_java_tokenizer_on_real_captions(shared) -> None:
    from bua.metrics.java import find_java, ptb_tokenize

    try:
        find_java()
    except InputError as error:
        pytest.skip(str(error))
    content = json.loads((shared / "data/coco_mini/captions.json").read_text())
    texts = [a["caption"] for a in content["annotations"]]
    official = ptb_tokenize(texts)
    same = [a == " ".join(ptb_like(b)) for a, b in zip(official, texts, strict=True)]
    assert len(same) == 720
    assert sum(same) / len(same) > 0.99


def test_special_words_have_four_different_indices() -> None:
    assert sorted({PADDING, BOS, EOS, UNKNOWN}) == [0, 1, 2, 3]


@given(texts=st.lists(WORDS.map(" ".join), min_size=1), min_count=st.integers(1, 3))
def test_a_vocabulary_has_exactly_the_words_that_occur_often_enough(texts, min_count) -> None:
    vocabulary = Vocabulary.from_texts(texts, tokenizer="karpathy", min_count=min_count)
    tokens = [word for text in texts for word in text.split()]
    assert set(vocabulary.words[4:]) == {w for w in tokens if tokens.count(w) >= min_count}
    counts = [tokens.count(w) for w in vocabulary.words[4:]]
    assert counts == sorted(counts, reverse=True)


@given(words=WORDS)
def test_decoding_undoes_encoding_of_known_words(words) -> None:
    vocabulary = Vocabulary.from_texts([" ".join(words)], tokenizer="karpathy", min_count=1)
    assert vocabulary.decode([BOS, *vocabulary.encode(" ".join(words)), EOS, UNKNOWN, PADDING]) == words


def test_unknown_words_are_not_padding() -> None:
    vocabulary = Vocabulary(["a"], "karpathy")
    assert vocabulary.encode("a zebra") == [4, UNKNOWN]


@given(words=st.lists(st.text(min_size=1, max_size=5), unique=True, max_size=8))
def test_vocabulary_survives_its_json(words, tmp_path_factory) -> None:
    if set(words) & {"<pad>", "<bos>", "<eos>", "<unk>"}:
        return
    path = tmp_path_factory.mktemp("v") / "vocabulary.json"
    Vocabulary(words, "caffe").save(path)
    assert Vocabulary.load(path) == Vocabulary(words, "caffe")


SPECIAL_NAMES = ["<pad>", "<bos>", "<eos>", "<unk>", "UNK", "[UNK]", "</s>", "@@UNKNOWN@@"]


@given(words=st.lists(st.sampled_from(["a", "cat", "é", "don't", ".", *SPECIAL_NAMES]), unique=True))
def test_a_word_list_keeps_its_order_and_loses_its_special_tokens(words, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("v") / "words.txt"
    path.write_text("\n".join(words), encoding="utf-8")
    own = [word for word in words if word not in SPECIAL_NAMES]
    if own:
        assert Vocabulary.from_list(path, "caffe") == Vocabulary(own, "caffe")
    else:
        with pytest.raises(InputError, match=r"words\.txt: contains no words"):
            Vocabulary.from_list(path, "caffe")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\n\ncat", "line 2 is '', expected one word per line"),
        (b"a 17\ncat 3", "line 1 is 'a 17', expected one word per line"),
        (b"a\ncat\na", "'a' is duplicated on lines 1 and 3"),
        (b"\xff", "cannot be read as UTF-8 text"),
        (b"", "contains no words"),
    ],
)
def test_an_invalid_word_list_is_refused_with_its_line(content: bytes, message: str, tmp_path) -> None:
    (tmp_path / "w.txt").write_bytes(content)
    with pytest.raises(InputError, match=rf"w\.txt: {message}"):
        Vocabulary.from_list(tmp_path / "w.txt", "karpathy")
    with pytest.raises(InputError, match=r"n\.txt: file does not exist"):
        Vocabulary.from_list(tmp_path / "n.txt", "karpathy")


def test_a_changed_vocabulary_file_is_refused(tmp_path) -> None:
    path = tmp_path / "v.json"
    Vocabulary(["cat", "dog"], "vqa").save(path)
    path.write_text(path.read_text().replace("dog", "cow"))
    with pytest.raises(InputError, match="v.json.*hash"):
        Vocabulary.load(path)


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"words": 3}', '{"words": ["<pad>", "<bos>", "<eos>", "<unk>", 3]}', "{"]
)
def test_a_file_that_is_not_a_vocabulary_is_named(content: str, tmp_path) -> None:
    (tmp_path / "v.json").write_text(content)
    with pytest.raises(InputError, match=r"v\.json: not "):
        Vocabulary.load(tmp_path / "v.json")


def test_a_duplicate_word_is_refused() -> None:
    with pytest.raises(InputError, match="word 'cat' of the vocabulary is duplicated"):
        Vocabulary(["cat", "dog", "cat"], "vqa")
