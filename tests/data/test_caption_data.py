"""Captions of every kind of file meet their regions, and the vocabulary is counted where it should be."""

import json
import logging
from collections import Counter
from pathlib import Path

import pytest
from bua.data.captions.images import match_caption_images
from hydra import compose, initialize_config_module

from bua.data.captions.files import read_captions
from bua.data.captions.vocabulary import COUNT_FROM, VocabularyOptions
from bua.engine.instantiate import instantiate
from bua.errors import InputError
from bua.store.reader import FeatureStore
from bua.text import EOS, TOKENIZERS, Vocabulary
from tests.data.test_caption_files import SENTENCE, written
from tests.helpers.data import caption_data
from tests.helpers.parity import ROOT
from tests.helpers.stores import regions, write_store

SPLITS = ["train", "train", "restval", "val", "test"]
PRESETS = sorted(path.stem for path in (ROOT / "conf/vocabulary").glob("*.yaml"))


def karpathy_file(folder: Path, key: str = "imgid") -> Path:
    """Five images with a word of all and a word of their own, and one image without captions."""
    images = [
        {
            key: 10 + n,
            "filename": f"{n}_a.jpg",
            "filepath": "photos",
            "split": split,
            "sentences": [SENTENCE | {"raw": f"a {split}", "sentid": n}],
        }
        for n, split in enumerate(SPLITS)
    ]
    images.append({key: 90, "filename": "90_a.jpg", "split": "train", "sentences": []})
    return written(folder, {"images": images})


def karpathy_data(folder: Path, names: list[object], **more: object):
    features = write_store(folder / "f.h5", {name: regions(3 + n) for n, name in enumerate(names)})
    path = str(karpathy_file(folder))
    options = {"train": path, "val": path, "train_splits": ["train", "restval"], "val_splits": "val"}
    return caption_data(folder, features=str(features), **options, **more)


IDS = [10, 11, 12, 13, 14]


def test_one_file_can_hold_both_splits(tmp_path) -> None:
    data = karpathy_data(tmp_path, IDS)
    assert data.train_set.image_ids == [10, 11, 12]
    assert data.val_set.image_ids == [13]
    assert next(iter(data.val_dataloader())).references == [["a val"]]


@pytest.mark.parametrize(
    ("count_from", "words"),
    [
        ("train", {"a", "train", "restval"}),
        ("train_val", {"a", "train", "restval", "val"}),
        ("all", {"a", "train", "restval", "val", "test"}),
    ],
)
def test_words_are_counted_where_a_rule_says(count_from: str, words: set[str], tmp_path) -> None:
    assert set(karpathy_data(tmp_path, IDS, count_from=count_from).vocabulary.words[4:]) == words
    assert count_from in COUNT_FROM


def test_an_image_in_train_and_val_is_counted_once(scenes) -> None:
    file = read_captions(scenes / "captions_val.json")
    rule = VocabularyOptions(tokenizer="karpathy", min_count=40, count_from="train_val")
    alone = VocabularyOptions(tokenizer="karpathy", min_count=40, count_from="train")
    again = file.select(file.captions)
    assert rule.build(file, again, [file]) == alone.build(file, again, [file])
    assert len(alone.build(file, again, [file])) > 4


def test_images_without_captions_are_left_out_and_counted_once(tmp_path, caplog) -> None:
    with caplog.at_level(logging.WARNING, "bua"):
        karpathy_data(tmp_path, IDS)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/file.json: 1 of 4 images have no captions and are left out"
    ]


def test_captions_without_a_word_are_left_out_with_a_line(tmp_path, caplog) -> None:
    path = written(tmp_path, {"1": ["a dog", "..."], "2": "!!", "3": ["?", "a cat", "a dog ."]})
    features = write_store(tmp_path / "f.h5", {1: regions(2), 3: regions(2)})
    with caplog.at_level(logging.WARNING, "bua"):
        data = caption_data(tmp_path, features=str(features), train=str(path), val=str(path), batch_size=9)
    assert [record.getMessage() for record in caplog.records] == 2 * [
        f"{path}: 3 of 6 captions have no word and are left out",
        f"{path}: 1 of 3 images have no captions and are left out",
    ]
    batch = next(iter(data.val_dataloader()))
    assert batch.references == [["a dog"], ["a cat", "a dog ."]]
    assert not (batch.words[..., 1] == EOS).any()
    assert data.parts["captions"] == {1: ["a dog"], 3: ["a cat", "a dog ."]}


def test_nothing_to_train_on_is_named(tmp_path, scenes) -> None:
    images = json.loads((scenes / "captions_val.json").read_text())["images"]
    path = written(tmp_path, {"images": images})
    with pytest.raises(InputError, match=r"file.json: holds no captions"):
        caption_data(scenes, val=str(path))


NAMES = [
    [f"photos/{n}_a.jpg" for n in range(5)],
    [f"{n}_a.jpg" for n in range(5)],
    [f"photos/{n}_a" for n in range(5)],
    [f"{n}_a" for n in range(5)],
]


@pytest.mark.parametrize("names", NAMES, ids=lambda names: names[0])
def test_a_store_may_name_images_by_their_files(names, tmp_path) -> None:
    data = karpathy_data(tmp_path, names, image_key="file_name")
    [batch] = data.train_dataloader()
    assert sorted(batch.image_id) == [10, 11, 12]
    counts = dict(zip(batch.image_id, batch.regions.mask.sum(1).tolist(), strict=True))
    assert counts == {10: 3, 11: 4, 12: 5}


def test_a_file_name_that_is_a_number_may_be_one_in_the_store(tmp_path) -> None:
    path = written(tmp_path, [{"image_id": 1, "image": "1000092795.jpg", "caption": "a"}])
    store = FeatureStore(write_store(tmp_path / "f.h5", {1000092795: regions(2)}))
    file = read_captions(path)
    assert match_caption_images(file, [1], store, "file_name") == {1: 1000092795}


def test_a_store_that_names_images_otherwise_is_told_with_the_key_to_give(tmp_path) -> None:
    with pytest.raises(InputError, match=r"f.h5: does not name images by the id .*: its '0_a' is image 10 .*=file"):
        karpathy_data(tmp_path, NAMES[3])
    (tmp_path / "f.h5").unlink()
    with pytest.raises(InputError, match=r"f.h5: names images otherwise .*: 10 is its image 10 .*=id"):
        karpathy_data(tmp_path, IDS, image_key="file_name")
    (tmp_path / "f.h5").unlink()
    with pytest.raises(InputError, match=r"f.h5: 3 of the 3 images of .*file.json .* first is 10; extract"):
        karpathy_data(tmp_path, [1, 2])
    (tmp_path / "f.h5").unlink()
    with pytest.raises(InputError, match=r"f.h5: 1 of the 3 images .* first is 'photos/2_a.jpg'; extract"):
        karpathy_data(tmp_path, NAMES[3][:2], image_key="file_name")
    with pytest.raises(InputError, match=r"image_key=name: id or file_name is needed"):
        match_caption_images(read_captions(written(tmp_path, {"1": "a"})), [1], FeatureStore(tmp_path / "f.h5"), "name")


def test_two_images_cannot_be_one_of_the_store(tmp_path) -> None:
    path = written(tmp_path, [{"image": "a/x.jpg", "caption": "a"}, {"image": "b/x.jpg", "caption": "b"}])
    store = FeatureStore(write_store(tmp_path / "f.h5", {"x.jpg": regions(2)}))
    file = read_captions(path)
    with pytest.raises(InputError, match=r"'x.jpg' matches two images of .*: 'a/x.jpg' and 'b/x.jpg'"):
        match_caption_images(file, list(file.captions), store, "file_name")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"count_from": "test"}, "data.vocabulary.count_from=test: must be one of train, train_val, all"),
        ({"min_count": 0}, "data.vocabulary.min_count=0: must be an integer of at least 1"),
        ({"min_count": "five"}, "data.vocabulary.min_count=five: must be an integer of at least 1"),
        ({"tokenizer": "poet"}, "unknown tokenizer 'poet', expected one of karpathy, "),
        (
            {"min_count": 1000},
            r"no word is known \(karpathy, at least 1000 times .*smaller data.voc",
        ),
    ],
)
def test_a_wrong_rule_is_named(wrong, message: str, scenes) -> None:
    with pytest.raises(InputError, match=message):
        caption_data(scenes, **wrong)


def test_a_vocabulary_can_be_given(scenes, tmp_path) -> None:
    given = Vocabulary(["cat", "dog"], "caffe")
    given.save(tmp_path / "v.json")
    rule = VocabularyOptions(tokenizer="vqa", min_count=9, count_from="all", file=str(tmp_path / "v.json"))
    data = caption_data(scenes, vocabulary=rule)
    assert data.vocabulary == given
    assert data.sources["vocabulary"] == str(tmp_path / "v.json")


def preset(name: str) -> VocabularyOptions:
    with initialize_config_module("bua.conf", version_base="1.3"):
        return instantiate(compose("train", ["data=captions", f"vocabulary={name}"]).data.vocabulary)


def test_there_are_presets() -> None:
    assert {"updown_caffe", "self_critical", "aoa", "updown_baseline", "m2", "karpathy"} <= set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_preset_says_what_was_published_and_stands_in_the_documentation(name: str) -> None:
    text = (ROOT / "conf/vocabulary" / f"{name}.yaml").read_text()
    assert "\n# Published  " in text
    assert f"| `{name}` |" in (ROOT / "docs/captions.md").read_text()


@pytest.mark.parametrize("name", sorted({*PRESETS} - {"virtex", "xmodaler"}))
def test_preset_keeps_exactly_the_words_that_occur_often_enough(name: str, shared, tmp_path) -> None:
    rule = preset(name)
    content = json.loads((shared / "data/coco_mini/captions.json").read_text())
    train, val = ({**content, "images": content["images"][part]} for part in (slice(99), slice(99, None)))
    ids = {image["id"] for image in train["images"]}
    train["annotations"] = [a for a in content["annotations"] if a["image_id"] in ids]
    val["annotations"] = [a for a in content["annotations"] if a["image_id"] not in ids]
    files = [read_captions(written(tmp_path, part, f"{n}.json")) for n, part in enumerate((train, val))]
    vocabulary = rule.build(*files, files)
    counted = train["annotations"] if rule.count_from == "train" else content["annotations"]
    counts = Counter(word for a in counted for word in TOKENIZERS[rule.tokenizer](a["caption"]))
    assert set(vocabulary.words[4:]) == {word for word, n in counts.items() if n >= rule.min_count}
    assert len(vocabulary) > 100


def test_more_than_five_is_not_at_least_five() -> None:
    least = [preset(name).min_count for name in ("self_critical", "aoa", "updown_caffe", "m2")]
    assert least == [6, 5, 5, 5]


def test_the_preset_of_x_modaler_takes_its_list_as_it_is(scenes, tmp_path) -> None:
    path = tmp_path / "vocabulary.txt"
    path.write_text("zebra\na\nUNK\ncat\n")
    words = ["vocabulary=xmodaler", f"words={path}"]
    with initialize_config_module("bua.conf", version_base="1.3"):
        rule = instantiate(compose("train", ["data=captions", *words]).data.vocabulary)
    file = read_captions(scenes / "captions_val.json")
    assert rule.build(file, file, [file]).words[4:] == ("zebra", "a", "cat")


def words_read(data, epoch: int) -> dict[object, list[list[int]]]:
    """Return the captions that an epoch reads, by image."""
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return {i: w.tolist() for batch in loader for i, w in zip(batch.image_id, batch.words, strict=True)}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_captions_are_drawn_anew_in_every_epoch_and_the_same_again(num_workers, scenes) -> None:
    data = caption_data(scenes, captions_per_image=2, num_workers=num_workers)
    every = words_read(caption_data(scenes), 0)
    first, second = words_read(data, 0), words_read(data, 1)
    assert first == words_read(caption_data(scenes, captions_per_image=2), 0)
    assert first != second
    for image_id, captions in first.items():
        read = [[w for w in words if w] for words in captions]
        known = [[w for w in words if w] for words in every[image_id]]
        assert len(read) == 2
        assert read[0] != read[1] or known.count(read[0]) > 1
        assert all(words in known for words in read)


def test_an_image_with_fewer_captions_gives_some_twice(tmp_path) -> None:
    data = karpathy_data(tmp_path, IDS, captions_per_image=3)
    for batch in data.train_dataloader():
        assert batch.words.shape[1] == 3
        assert (batch.words == batch.words[:, :1]).all()
        assert batch.reference_lengths.tolist() == [[2]] * len(batch.image_id)


def test_references_are_whole_where_captions_that_are_read_are_cut(scenes) -> None:
    data = caption_data(scenes, max_length=3)
    batch = next(iter(data.val_dataloader()))
    assert batch.words.shape[2] == 5
    for n, texts in enumerate(batch.references):
        encoded = [data.vocabulary.encode(text) for text in texts]
        assert batch.reference_lengths[n, : len(texts)].tolist() == [len(words) for words in encoded]
        for r, words in enumerate(encoded):
            assert batch.reference_words[n, r, : len(words) + 1].tolist() == [*words, EOS]


def test_images_without_captions_are_no_documents(scenes, tmp_path) -> None:
    content = json.loads((scenes / "captions_train.json").read_text())
    lonely = content["images"][0]["id"]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != lonely]
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(content))
    captions = caption_data(scenes, train=str(path)).parts["captions"]
    assert lonely not in captions
    assert len(captions) == len(content["images"]) - 1
