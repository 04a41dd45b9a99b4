"""Captions of all formats are read equally, and images can be selected by split and by id."""

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.data.captions.files import CaptionFile, read_caption_file, read_captions, select_images
from bua.data.captions.files.caption_file import find_mistake, normalize_caption
from bua.data.captions.files.check import check_captions
from bua.data.image_lookup import read_ids
from bua.errors import InputError
from bua.text.tokenize import karpathy
from tests.helpers.caption_files import IMAGE, KARPATHY_IMAGE, SENTENCE, coco_captions
from tests.helpers.data import write_json
from tests.helpers.parity import ROOT

TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs"]), min_size=1, max_size=12).filter(
    str.strip
)
IMAGES = st.dictionaries(st.integers(0, 99), st.lists(TEXTS, min_size=1, max_size=3), min_size=1, max_size=4)


def to_coco(images: dict[int, list[str]]) -> object:
    flat = [(i, text) for i, texts in images.items() for text in texts]
    annotations = [{"id": n, "image_id": i, "caption": text} for n, (i, text) in enumerate(flat)]
    return {"images": [{"id": i, "file_name": f"{i}.jpg"} for i in images], "annotations": annotations}


def to_karpathy(images: dict[int, list[str]]) -> object:
    def sentences(texts: list[str]) -> list[dict[str, object]]:
        return [{"raw": text, "tokens": karpathy(text)} for text in texts]

    return {
        "images": [
            {"imgid": i, "filename": f"{i}.jpg", "split": "test", "sentences": sentences(texts)}
            for i, texts in images.items()
        ]
    }


def to_object(images: dict[int, list[str]]) -> object:
    return {str(i): texts[0] if len(texts) == 1 else texts for i, texts in images.items()}


def to_results(images: dict[int, list[str]]) -> object:
    return [{"image_id": i, "caption": text} for i, texts in images.items() for text in texts]


def to_list(images: dict[int, list[str]]) -> object:
    return [{"image_id": i, "image": f"{i}.jpg", "captions": texts} for i, texts in images.items()]


FORMATS = {
    to_coco: "COCO captions",
    to_karpathy: "Karpathy's splits",
    to_object: "plain object",
    to_results: "plain list",
    to_list: "plain list",
}


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
@given(images=IMAGES)
def test_all_formats_are_read_equally(write, images, tmp_path_factory) -> None:
    path = write_json(tmp_path_factory.mktemp("f"), write(images))
    file = read_captions(path, splits="test" if write is to_karpathy else ())
    assert file.format == FORMATS[write]
    assert list(file.captions.items()) == [
        (i, [normalize_caption(text) for text in texts]) for i, texts in images.items()
    ]
    assert list(file.file_names) == list(images)
    assert check_captions(path).problems == []


EXAMPLES = re.findall(r"```json\n(.*?)```", (ROOT / "docs/captions.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_of_the_documentation_are_valid(text: str, tmp_path) -> None:
    assert check_captions(write_json(tmp_path, text)).problems == []


def test_formats_and_examples_are_collected() -> None:
    assert len(FORMATS) == 5
    assert len(EXAMPLES) == 6


#: Any text, in which invisible and refused characters are more frequent than by chance.
UNUSUAL = st.lists(st.characters() | st.sampled_from("ab \n\u00ad\u200d\ufeff\x00"), max_size=12).map("".join)


def visible(text: str) -> str:
    return "".join(c for c in text if unicodedata.category(c) != "Cf")


@given(text=UNUSUAL)
def test_captions_are_refused_only_if_invisible_or_with_control_characters(text: str) -> None:
    kinds = {unicodedata.category(c) for c in text if not c.isspace()}
    assert (find_mistake(text) is not None) == (not visible(text).split() or bool(kinds & {"Cc", "Cs"}))


@given(text=UNUSUAL)
def test_only_format_characters_are_removed(text: str) -> None:
    assert normalize_caption(text).split() == visible(text).split()


def test_emoji_joiners_and_soft_hyphens_are_removed(tmp_path) -> None:
    raw = "a family \U0001f468\u200d\U0001f469\u200d\U0001f467 with an um\u00adbrella\ufeff"
    path = write_json(tmp_path, {"1": raw})
    family = "\U0001f468\U0001f469\U0001f467"
    assert read_captions(path).captions == {1: [f"a family {family} with an umbrella"]}
    assert check_captions(path).problems == []


@given(text=st.text(st.sampled_from("ab \n\t\r\u2028\u2029\u00a0\u3000\x85\x1f"), max_size=20))
def test_white_space_becomes_single_spaces(text: str) -> None:
    out = normalize_caption(text)
    assert out == out.strip()
    assert not set(out) - set("ab ")
    assert "  " not in out
    assert out.replace(" ", "") == "".join(c for c in text if c in "ab")


def test_captions_are_otherwise_kept(tmp_path) -> None:
    raw = "Café “naïve” e\u0301 \U0001f408 A\u2028cat\n"
    assert read_captions(write_json(tmp_path, {"1": raw})).captions == {1: [raw[:-1].replace("\u2028", " ")]}


def test_entries_may_have_an_id_and_a_file_name(tmp_path) -> None:
    content = [{"image_id": "coco_42", "image": "val2014/x.jpg", "caption": "a"}]
    file = read_captions(write_json(tmp_path, content))
    assert file.file_names == {"coco_42": "val2014/x.jpg"}
    assert read_captions(write_json(tmp_path, [{"image": "b/x.jpg", "caption": ["a", "b"]}])).captions == {
        "b/x.jpg": ["a", "b"]
    }


def test_ids_are_numbers_only_if_all_are_written_as_numbers(tmp_path) -> None:
    assert list(read_captions(write_json(tmp_path, {"1": "a", "2": "b"})).captions) == [1, 2]
    assert list(read_captions(write_json(tmp_path, {"1": "a", "2.jpg": "b"})).captions) == ["1", "2.jpg"]
    assert list(read_captions(write_json(tmp_path, {"1": "a", "²": "b"})).captions) == ["1", "²"]


def split_file(tmp_path, key: str = "cocoid") -> str:
    splits = ["train", "restval", "val", "test", "train"]
    images = [
        {
            key: 10 + n,
            "filename": f"{n}.jpg",
            "filepath": "val2014",
            "split": split,
            "sentences": [SENTENCE | {"sentid": n}],
        }
        for n, split in enumerate(splits)
    ]
    return write_json(tmp_path, {"images": images, "dataset": "coco"})


def test_images_are_selected_by_split(tmp_path) -> None:
    path = split_file(tmp_path)
    assert list(read_captions(path, splits=["train", "restval"]).captions) == [10, 11, 14]
    assert read_captions(path, splits="val").file_names == {12: "val2014/2.jpg"}
    assert read_captions(path, splits="test").splits == {13: "test"}
    assert len(read_caption_file(path).captions) == 5


def test_files_with_splits_need_splits_or_ids(tmp_path) -> None:
    path = split_file(tmp_path)
    splits = r"train \(2 images\), restval \(1 images\), val \(1 images\), test \(1 images\)"
    with pytest.raises(InputError, match=rf"file.json: choose among its splits {splits}"):
        read_captions(path)
    with pytest.raises(InputError, match=rf"file.json: has no split 'dev'; it has {splits}"):
        read_captions(path, splits=["val", "dev"])
    with pytest.raises(
        InputError, match=r"c.json: has no splits, as its format is COCO captions; leave out 'val'"
    ):
        read_captions(write_json(tmp_path, coco_captions(), "c.json"), splits="val")
    (tmp_path / "ids.txt").write_text("14\n12\n")
    assert list(read_captions(path, tmp_path / "ids.txt").captions) == [14, 12]
    with pytest.raises(InputError, match=r"ids.txt: image 12 is not in .*file.json in the splits train"):
        read_captions(path, tmp_path / "ids.txt", splits="train")


def test_flickr_images_are_identified_by_imgid(tmp_path) -> None:
    assert list(read_captions(split_file(tmp_path, "imgid"), splits="val").captions) == [12]


def test_tokens_of_a_file_are_ignored(tmp_path) -> None:
    image = KARPATHY_IMAGE | {"sentences": [SENTENCE | {"tokens": ["a", "dog"]}]}
    assert read_captions(write_json(tmp_path, {"images": [image]}), splits="train").captions == {
        1: ["A cat."]
    }


def test_nocaps_domains_are_kept(tmp_path) -> None:
    domains = ["in-domain", "near-domain", "out-domain"]
    images = [
        {"id": n, "file_name": f"{n:016x}.jpg", "open_images_id": f"{n:016x}", "domain": domain}
        for n, domain in enumerate(domains)
    ]
    annotations = [{"id": n, "image_id": n, "caption": "a cat"} for n in range(3)]
    file = read_captions(write_json(tmp_path, {"images": images, "annotations": annotations}))
    assert file.format == "nocaps"
    assert list(file.domains.values()) == domains
    assert file.select([2]).domains == {2: "out-domain"}


def test_files_without_captions_are_read_and_remarked(tmp_path) -> None:
    path = write_json(
        tmp_path, {"images": [IMAGE | {"open_images_id": "a"}, {"id": 2, "file_name": "b.jpg"}]}
    )
    assert read_captions(path).captions == {1: [], 2: []}
    report = check_captions(path)
    assert report.problems == []
    assert report.remarks == [f"{path}: no image has captions; the file can only be used for prediction"]


def test_images_are_read_from_files_of_other_annotations(tmp_path) -> None:
    path = write_json(tmp_path, coco_captions(annotations=[{"id": 1, "image_id": 1, "bbox": [0, 0, 1, 1]}]))
    assert list(read_caption_file(path, captions=False).captions) == [1]


def test_selection_keeps_names_captions_domains_and_splits() -> None:
    names = {n: f"{n}.jpg" for n in range(3)}
    file = CaptionFile(Path("f"), names, {n: [str(n)] for n in range(3)}, {1: "d"}, {1: "val"})
    selected = file.select([2, 1])
    assert (list(selected.captions), list(selected.file_names)) == ([2, 1], [2, 1])
    assert (selected.domains, selected.splits) == ({1: "d"}, {1: "val"})
    assert select_images(selected, splits="val").captions == {1: ["1"]}


def test_superscript_digits_are_not_numbers(tmp_path) -> None:
    (tmp_path / "ids.txt").write_text("1\n²\n", encoding="utf-8")
    assert read_ids(tmp_path / "ids.txt") == ["1", "²"]
