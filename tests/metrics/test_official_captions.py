"""Odd captions get the tokens and the scores of pycocoevalcap, run by its own code through Java."""

import json
import random
import re
from pathlib import Path

import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from bua.errors import InputError
from bua.metrics.java import count_replaced, find_java, ptb_tokenize
from tests.helpers.commands import run_ok

#: Parts of captions.
WORDS = """
    a cat The dog isn't can't I'm he's dogs' gonna cannot o'clock U.S. Mr. e.g. etc. 3 1,000 2.5 10:30 1/2
    50% $5 \u00a33 \u20ac7 #1 a@b.org http://www.a.org/b?c=d www.x.com it's \u2019s \u2018x\u2019 "x"
    \u201cquoted\u201d ``y'' ' ` ( ) [ ] { } < > (away) [far] {x} - -- \u2013 \u2014 ... \u2026 ! ?! ; : , . /
    \\ & &amp; | ||| * _ ~ caf\u00e9 cafe\u0301 na\u00efve \u00df \U0001f600
    \U0001f468\u200d\U0001f469\u200d\U0001f467 red\u200bcat x\ufeffy a\u200cb soft\u00adhyphen \u05e9\u05dc
    \u200f \u0645\u0631 \u65e5\u672c \u0e44\u0e17 \u00bd \u00b0 \u2122 -lrb- -LRB-
"""
PIECES = WORDS.split()
#: White space that ends no line.
SPACES = ["\u00a0", "\u3000", "\t"]
#: Characters at which the official tool shifts all captions after them.
LINE_ENDS = ["\r", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"]


@pytest.fixture(autouse=True)
def java() -> None:
    try:
        find_java()
    except InputError as error:
        pytest.skip(str(error))


def odd_captions(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    captions = ["", " ", "a" * 5000, " ".join(["a cat"] * 500), *PIECES, *SPACES]
    while len(captions) < count:
        pieces = [rng.choice(PIECES + SPACES) for _ in range(rng.randint(1, 12))]
        captions.append(rng.choice(["", " "]).join(pieces) if rng.random() < 0.2 else " ".join(pieces))
    return captions


def official_tokens(captions: list[str]) -> list[str]:
    tokenized = PTBTokenizer().tokenize({n: [{"caption": text}] for n, text in enumerate([*captions, "end"])})
    assert tokenized[len(captions)] == ["end"]  # no caption was shifted
    return [tokenized[n][0] for n in range(len(captions))]


@pytest.mark.parametrize("seed", [0, 1])
def test_odd_captions_have_the_official_tokens(seed: int) -> None:
    captions = odd_captions(1500, seed)
    different = {
        text: pair
        for text, *pair in zip(captions, ptb_tokenize(captions), official_tokens(captions), strict=True)
        if pair[0] != pair[1]
    }
    assert different == {}
    assert count_replaced(captions) == 0


def test_characters_that_shift_the_official_captions_are_replaced_and_counted() -> None:
    captions = [f"a{end}cat" for end in LINE_ENDS] + ["a\ud83dcat", "a\ncat"]
    assert count_replaced(captions) == 7
    assert ptb_tokenize(captions) == ["a cat"] * 6 + [ptb_tokenize(["a\ufffdcat"])[0], "a cat"]


def test_the_scores_of_odd_captions_are_the_official_ones(tmp_path: Path) -> None:
    captions = [text for text in odd_captions(400, 7) if any(map(str.isalnum, text))]
    rng = random.Random(8)
    images = list(range(1, 61))
    references = {i: [rng.choice(captions) for _ in range(rng.randint(1, 4))] for i in images}
    predictions = {i: rng.choice([*captions[:200], *references[i], ""]) for i in images}
    content = {
        "images": [{"id": i} for i in images],
        "annotations": [
            {"id": 10 * i + n, "image_id": i, "caption": text}
            for i, texts in references.items()
            for n, text in enumerate(texts)
        ],
    }
    (tmp_path / "r.json").write_text(json.dumps(content))
    (tmp_path / "p.json").write_text(
        json.dumps([{"image_id": i, "caption": text} for i, text in predictions.items()])
    )
    words = ["score", "task=caption", f"predictions={tmp_path}/p.json", f"references={tmp_path}/r.json"]
    run_ok(*words, f"out={tmp_path}/m.json")
    scores = json.loads((tmp_path / "m.json").read_text())["scores"]
    tokenizer = PTBTokenizer()
    truth = tokenizer.tokenize({i: [{"caption": t} for t in texts] for i, texts in references.items()})
    found = tokenizer.tokenize({i: [{"caption": text}] for i, text in predictions.items()})
    bleu, _ = Bleu(4).compute_score(truth, found, 0)
    expected = {f"BLEU-{n}": value for n, value in enumerate(bleu, 1)}
    for name, scorer in {"METEOR": Meteor(), "ROUGE-L": Rouge(), "CIDEr": Cider()}.items():
        expected[name] = scorer.compute_score(truth, found)[0]
    assert scores == pytest.approx(expected, rel=1e-12)


def test_references_and_predictions_are_normalized_alike(tmp_path: Path, capfd) -> None:
    texts = {
        1: "a red\u200bcat on a mat",
        2: "a\ufeff dog (on a mat)",
        3: "two\u200c birds [fly] over it",
    }
    (tmp_path / "r.json").write_text(json.dumps({str(i): [text] for i, text in texts.items()}))
    (tmp_path / "p.json").write_text(json.dumps([{"image_id": i, "caption": t} for i, t in texts.items()]))
    words = ["score", "task=caption", f"predictions={tmp_path}/p.json", f"references={tmp_path}/r.json"]
    run_ok(*words, "metrics=[bleu,rouge,cider]", f"out={tmp_path}/m.json")
    scores = json.loads((tmp_path / "m.json").read_text())["scores"]
    assert scores["BLEU-1"] == pytest.approx(1)
    assert scores["CIDEr"] == pytest.approx(10)
    assert not re.search("cannot take", capfd.readouterr().out)
