"""``bua score task=caption``: the domains of nocaps, warnings, and rejected keys."""

import json
import re

import pytest

from bua.cli import main
from tests.helpers.commands import run_error, run_ok

TEXTS = ["a dog runs on grass", "two cats sleep on a bed", "a red bus on a street", "a bird in a tree"] + [
    "a man with a kite",
    "a plate of food",
]
DOMAINS = ["in-domain", "near-domain", "out-domain"]


def score(folder, images: int, domains: list[str] | None, capfd) -> tuple[dict, list[str]]:
    """Return the result and the printed lines, where every second prediction is a reference."""
    records = [{"id": n, "file_name": f"{n}.jpg"} for n in range(images)]
    for n, record in enumerate(records):
        record |= {"domain": domains[n % len(domains)]} if domains else {}
    annotations = [
        {"id": 2 * n + k, "image_id": n, "caption": TEXTS[(n + k) % len(TEXTS)]}
        for n in range(images)
        for k in range(2)
    ]
    predictions = [
        {"image_id": n, "caption": TEXTS[n % len(TEXTS)] if n % 2 else "a dog"} for n in range(images)
    ]
    (folder / "r.json").write_text(json.dumps({"images": records, "annotations": annotations}))
    (folder / "p.json").write_text(json.dumps(predictions))
    common = ["task=caption", f"predictions={folder}/p.json", f"references={folder}/r.json"]
    capfd.readouterr()
    assert main(["score", *common, "tokenizer=python", "metrics=[cider,bleu]", f"out={folder}/m.json"]) == 0
    *lines, written = capfd.readouterr().out.strip().splitlines()
    assert written == f"{folder}/m.json: scores with their provenance"
    return json.loads((folder / "m.json").read_text()), lines


def test_each_domain_is_scored_like_a_separate_file(tmp_path, capfd) -> None:
    result, lines = score(tmp_path, 12, DOMAINS, capfd)
    assert list(result["per_domain"]) == DOMAINS
    assert len(lines) == 5
    assert lines[1].startswith("in-domain: ")
    assert lines[-1].startswith("CIDEr over 12 images cannot be compared with published scores")
    references = json.loads((tmp_path / "r.json").read_text())
    predictions = json.loads((tmp_path / "p.json").read_text())
    for n, domain in enumerate(DOMAINS):
        ids = set(range(n, 12, 3))
        alone = tmp_path / domain
        alone.mkdir()
        part = {
            "images": [image for image in references["images"] if image["id"] in ids],
            "annotations": [one for one in references["annotations"] if one["image_id"] in ids],
        }
        (alone / "r.json").write_text(json.dumps(part))
        (alone / "p.json").write_text(json.dumps([one for one in predictions if one["image_id"] in ids]))
        common = [f"predictions={alone}/p.json", f"references={alone}/r.json", f"out={alone}/m.json"]
        assert main(["score", "task=caption", *common, "tokenizer=python", "metrics=[cider,bleu]"]) == 0
        own = json.loads((alone / "m.json").read_text())
        found = result["per_domain"][domain]
        assert found["images"] == own["images"] == 4
        assert found["scores"] == pytest.approx(own["scores"])
    ciders = [part["scores"]["CIDEr"] for part in result["per_domain"].values()]
    assert result["scores"]["CIDEr"] != pytest.approx(sum(ciders) / 3)
    assert "own references" in result["signature"]["per_domain"]


def test_files_without_domains_have_no_scores_of_domains(tmp_path, capfd) -> None:
    result, lines = score(tmp_path, 6, None, capfd)
    assert "per_domain" not in result
    assert "per_domain" not in result["signature"]
    assert len(lines) == 2


def test_enough_images_cause_no_warning(tmp_path, capfd) -> None:
    assert len(score(tmp_path, 100, None, capfd)[1]) == 1


@pytest.mark.parametrize("word", ["rule=official", "pairs=p.json", "answers=words.txt"])
def test_keys_of_vqa_are_rejected(word: str, tmp_path, capfd) -> None:
    common = ["task=caption", f"predictions={tmp_path}/p.json", f"references={tmp_path}/r.json"]
    assert main(["score", *common, word]) == 2
    assert capfd.readouterr().err.strip() == f"bua score: {word}: task=caption does not take it"


def test_a_key_that_is_null_is_not_rejected(tmp_path, capfd) -> None:
    common = ["task=caption", f"predictions={tmp_path}/p.json", f"references={tmp_path}/r.json"]
    assert main(["score", *common, "pairs=null"]) == 2
    assert "does not take it" not in capfd.readouterr().err


def test_references_that_vizwiz_flags_are_left_out_and_counted(tmp_path, capfd) -> None:
    captions = [("a red cat on a mat", {}), ("quality issues", {"is_rejected": True}), ("a dog", {})]
    captions += [("no", {}), ("too dark to see", {"is_precanned": True})]
    content = {
        "images": [{"id": 1}, {"id": 2}, {"id": 3}],
        "annotations": [
            {"id": n, "image_id": image, "caption": text, "is_rejected": False, **flags}
            for n, (image, (text, flags)) in enumerate(zip((1, 1, 2, 2, 3), captions, strict=True))
        ],
    }
    (tmp_path / "r.json").write_text(json.dumps(content))
    predictions = [{"image_id": i, "caption": "quality issues"} for i in (1, 2, 3)]
    (tmp_path / "p.json").write_text(json.dumps(predictions))
    words = ["score", "task=caption", f"predictions={tmp_path}/p.json", f"references={tmp_path}/r.json"]
    words += ["metrics=[bleu]", "tokenizer=python", f"out={tmp_path}/m.json"]
    run_ok(*words)
    result = json.loads((tmp_path / "m.json").read_text())
    assert (result["scores"]["BLEU-1"], result["images"]) == (pytest.approx(0, abs=1e-6), 2)
    line = "2 references that VizWiz flags were left out, and 1 images that have no other"
    assert line in capfd.readouterr().out
    run_ok(*words, "flagged=true")
    result = json.loads((tmp_path / "m.json").read_text())
    assert result["scores"]["BLEU-1"] > 0.2
    assert result["signature"]["flagged_references_left_out"] == 0


def test_a_partial_file_is_scored_only_if_it_is_allowed(tmp_path, capfd) -> None:
    (tmp_path / "r.json").write_text(json.dumps({"1": ["a cat"], "2": ["a dog"], "3": ["a bird"]}))
    (tmp_path / "p.json").write_text(json.dumps([{"image_id": 2, "caption": "a dog"}]))
    words = ["score", "task=caption", f"predictions={tmp_path}/p.json", f"references={tmp_path}/r.json"]
    words += ["metrics=[bleu]", "tokenizer=python"]
    line = (
        "2 of the 3 images of .*r.json have no prediction, the first is 1; give allow_missing=true to score"
    )
    assert re.search(line, run_error(capfd, *words))
    run_ok(*words, "allow_missing=true")
    printed = capfd.readouterr().out
    assert "2 images of the references have no prediction and were not scored" in printed
    assert "(1 images)" in printed
