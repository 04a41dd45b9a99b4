"""Captions of all formats are batched with their regions, and vocabularies follow their options."""

import json
import logging
from collections import Counter

import pytest
from hydra import compose, initialize_config_module

from bua.data.captions.datamodule import COUNT_FROM, VocabularyOptions
from bua.data.captions.dataset import match_caption_images
from bua.data.captions.files import read_captions
from bua.engine.instantiate import instantiate
from bua.errors import InputError
from bua.store.reader import FeatureStore
from bua.text import EOS, TOKENIZERS, Vocabulary
from tests.helpers.caption_files import IDS, NAMES, karpathy_data
from tests.helpers.data import caption_data, first_batch, write_json
from tests.helpers.parity import ROOT
from tests.helpers.stores import regions, write_store

PRESETS = sorted(path.stem for path in (ROOT / "conf/vocabulary").glob("*.yaml"))


def test_one_file_can_be_both_train_and_val(tmp_path) -> None:
    data = karpathy_data(tmp_path, IDS)
    assert data.train_set.image_ids == [10, 11, 12]
    assert data.val_set.image_ids == [13]
    assert first_batch(data, "val").references == [["a val"]]


@pytest.mark.parametrize(
    ("count_from", "words"),
    [
        ("train", {"a", "train", "restval"}),
        ("train_val", {"a", "train", "restval", "val"}),
        ("all", {"a", "train", "restval", "val", "test"}),
    ],
)
def test_words_are_counted_in_the_chosen_captions(count_from: str, words: set[str], tmp_path) -> None:
    assert set(karpathy_data(tmp_path, IDS, count_from=count_from).vocabulary.words[4:]) == words
    assert count_from in COUNT_FROM


def test_images_in_train_and_val_are_counted_once(scenes) -> None:
    file = read_captions(scenes / "captions_val.json")
    both = VocabularyOptions(tokenizer="karpathy", min_count=40, count_from="train_val")
    train = VocabularyOptions(tokenizer="karpathy", min_count=40, count_from="train")
    again = file.select(file.captions)
    assert both.build(file, again, [file]) == train.build(file, again, [file])
    assert len(train.build(file, again, [file])) > 4


def test_images_without_captions_are_left_out_and_counted(tmp_path, caplog) -> None:
    with caplog.at_level(logging.WARNING, "bua"):
        karpathy_data(tmp_path, IDS)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/file.json: 1 of 4 images have no captions and are left out"
    ]


def test_captions_without_a_word_are_left_out_and_counted(tmp_path, caplog) -> None:
    path = write_json(tmp_path, {"1": ["a dog", "..."], "2": "!!", "3": ["?", "a cat", "a dog ."]})
    features = write_store(tmp_path / "f.h5", {1: regions(2), 3: regions(2)})
    with caplog.at_level(logging.WARNING, "bua"):
        data = caption_data(tmp_path, features=str(features), train=str(path), val=str(path), batch_size=9)
    assert [record.getMessage() for record in caplog.records] == 2 * [
        f"{path}: 3 of 6 captions have no word and are left out",
        f"{path}: 1 of 3 images have no captions and are left out",
    ]
    batch = first_batch(data, "val")
    assert batch.references == [["a dog"], ["a cat", "a dog ."]]
    assert not (batch.words[..., 1] == EOS).any()
    assert data.parts["captions"] == {1: ["a dog"], 3: ["a cat", "a dog ."]}


def test_files_without_captions_are_rejected(tmp_path, scenes) -> None:
    images = json.loads((scenes / "captions_val.json").read_text())["images"]
    path = write_json(tmp_path, {"images": images})
    with pytest.raises(InputError, match=r"file.json: holds no captions"):
        caption_data(scenes, val=str(path))


@pytest.mark.parametrize("names", NAMES, ids=lambda names: names[0])
def test_stores_may_use_file_names_as_ids(names, tmp_path) -> None:
    data = karpathy_data(tmp_path, names, image_key="file_name")
    [batch] = data.train_dataloader()
    assert sorted(batch.image_id) == [10, 11, 12]
    counts = dict(zip(batch.image_id, batch.regions.mask.sum(1).tolist(), strict=True))
    assert counts == {10: 3, 11: 4, 12: 5}


def test_numeric_file_names_match_numeric_ids(tmp_path) -> None:
    path = write_json(tmp_path, [{"image_id": 1, "image": "1000092795.jpg", "caption": "a"}])
    store = FeatureStore(write_store(tmp_path / "f.h5", {1000092795: regions(2)}))
    file = read_captions(path)
    assert match_caption_images(file, [1], store, "file_name") == {1: 1000092795}


def test_unmatched_stores_are_reported_with_the_image_key_that_matches(tmp_path) -> None:
    with pytest.raises(
        InputError, match=r"f.h5: does not name images by the id .*: its '0_a' is image 10 .*=file"
    ):
        karpathy_data(tmp_path, NAMES[3])
    (tmp_path / "f.h5").unlink()
    with pytest.raises(
        InputError, match=r"f.h5: does not name images by the file_name .*: its 10 .* image 10 .*=id"
    ):
        karpathy_data(tmp_path, IDS, image_key="file_name")
    (tmp_path / "f.h5").unlink()
    with pytest.raises(InputError, match=r"f.h5: 3 of 3 images of .*file.json .* first is 10; extract"):
        karpathy_data(tmp_path, [1, 2])
    (tmp_path / "f.h5").unlink()
    with pytest.raises(InputError, match=r"f.h5: 1 of 3 images .* first is 'photos/2_a.jpg'; extract"):
        karpathy_data(tmp_path, NAMES[3][:2], image_key="file_name")
    with pytest.raises(InputError, match=r"image_key=name: must be id or file_name"):
        match_caption_images(
            read_captions(write_json(tmp_path, {"1": "a"})), [1], FeatureStore(tmp_path / "f.h5"), "name"
        )


def test_two_images_cannot_match_the_same_stored_image(tmp_path) -> None:
    path = write_json(tmp_path, [{"image": "a/x.jpg", "caption": "a"}, {"image": "b/x.jpg", "caption": "b"}])
    store = FeatureStore(write_store(tmp_path / "f.h5", {"x.jpg": regions(2)}))
    file = read_captions(path)
    with pytest.raises(InputError, match=r"'x.jpg' matches two images of .*: 'a/x.jpg' and 'b/x.jpg'"):
        match_caption_images(file, list(file.captions), store, "file_name")


@pytest.mark.parametrize(
    ("options", "message"),
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
def test_invalid_vocabulary_options_are_rejected(options, message: str, scenes) -> None:
    with pytest.raises(InputError, match=message):
        caption_data(scenes, **options)


def test_vocabulary_can_be_loaded_from_a_file(scenes, tmp_path) -> None:
    saved = Vocabulary(["cat", "dog"], "caffe")
    saved.save(tmp_path / "v.json")
    options = VocabularyOptions(tokenizer="vqa", min_count=9, count_from="all", file=str(tmp_path / "v.json"))
    data = caption_data(scenes, vocabulary=options)
    assert data.vocabulary == saved
    assert data.sources["vocabulary"] == str(tmp_path / "v.json")


def preset(name: str) -> VocabularyOptions:
    with initialize_config_module("bua.conf", version_base="1.3"):
        return instantiate(compose("train", ["data=captions", f"vocabulary={name}"]).data.vocabulary)


def test_presets_are_collected() -> None:
    assert {"updown_caffe", "self_critical", "aoa", "updown_baseline", "m2", "karpathy"} <= set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_cite_what_was_published_and_are_documented(name: str) -> None:
    text = (ROOT / "conf/vocabulary" / f"{name}.yaml").read_text()
    assert "\n# Published  " in text
    assert f"| `{name}` |" in (ROOT / "docs/captions.md").read_text()


@pytest.mark.parametrize("name", sorted({*PRESETS} - {"virtex", "xmodaler"}))
def test_presets_keep_exactly_the_frequent_words(name: str, shared, tmp_path) -> None:
    options = preset(name)
    content = json.loads((shared / "data/coco_mini/captions.json").read_text())
    train, val = ({**content, "images": content["images"][part]} for part in (slice(99), slice(99, None)))
    ids = {image["id"] for image in train["images"]}
    train["annotations"] = [a for a in content["annotations"] if a["image_id"] in ids]
    val["annotations"] = [a for a in content["annotations"] if a["image_id"] not in ids]
    files = [read_captions(write_json(tmp_path, part, f"{n}.json")) for n, part in enumerate((train, val))]
    vocabulary = options.build(*files, files)
    counted = train["annotations"] if options.count_from == "train" else content["annotations"]
    counts = Counter(word for a in counted for word in TOKENIZERS[options.tokenizer](a["caption"]))
    assert set(vocabulary.words[4:]) == {word for word, n in counts.items() if n >= options.min_count}
    assert len(vocabulary) > 100


def test_presets_distinguish_more_than_five_from_at_least_five() -> None:
    min_counts = [preset(name).min_count for name in ("self_critical", "aoa", "updown_caffe", "m2")]
    assert min_counts == [6, 5, 5, 5]


def test_xmodaler_preset_keeps_its_word_list(scenes, tmp_path) -> None:
    path = tmp_path / "vocabulary.txt"
    path.write_text("zebra\na\nUNK\ncat\n")
    words = ["vocabulary=xmodaler", f"vocabulary_file={path}"]
    with initialize_config_module("bua.conf", version_base="1.3"):
        options = instantiate(compose("train", ["data=captions", *words]).data.vocabulary)
    file = read_captions(scenes / "captions_val.json")
    assert options.build(file, file, [file]).words[4:] == ("zebra", "a", "cat")


def words_read(data, epoch: int) -> dict[object, list[list[int]]]:
    """Return the captions that an epoch reads, by image."""
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return {i: w.tolist() for batch in loader for i, w in zip(batch.image_id, batch.words, strict=True)}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_drawn_captions_depend_on_the_epoch_and_are_reproducible(num_workers, scenes) -> None:
    data = caption_data(scenes, captions_per_image=2, num_workers=num_workers)
    all_captions = words_read(caption_data(scenes), 0)
    first, second = words_read(data, 0), words_read(data, 1)
    assert first == words_read(caption_data(scenes, captions_per_image=2), 0)
    assert first != second
    for image_id, captions in first.items():
        read = [[w for w in words if w] for words in captions]
        known = [[w for w in words if w] for words in all_captions[image_id]]
        assert len(read) == 2
        assert read[0] != read[1] or known.count(read[0]) > 1
        assert all(words in known for words in read)


def test_images_with_too_few_captions_repeat_some(tmp_path) -> None:
    data = karpathy_data(tmp_path, IDS, captions_per_image=3)
    for batch in data.train_dataloader():
        assert batch.words.shape[1] == 3
        assert (batch.words == batch.words[:, :1]).all()
        assert batch.reference_lengths.tolist() == [[2]] * len(batch.image_id)


def test_references_are_not_truncated(scenes) -> None:
    data = caption_data(scenes, max_length=3)
    batch = first_batch(data, "val")
    assert batch.words.shape[2] == 5
    for n, texts in enumerate(batch.references):
        encoded = [data.vocabulary.encode(text) for text in texts]
        assert batch.reference_lengths[n, : len(texts)].tolist() == [len(words) for words in encoded]
        for r, words in enumerate(encoded):
            assert batch.reference_words[n, r, : len(words) + 1].tolist() == [*words, EOS]


def test_images_without_captions_are_not_counted_as_documents(scenes, tmp_path) -> None:
    content = json.loads((scenes / "captions_train.json").read_text())
    uncaptioned = content["images"][0]["id"]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != uncaptioned]
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(content))
    captions = caption_data(scenes, train=str(path)).parts["captions"]
    assert uncaptioned not in captions
    assert len(captions) == len(content["images"]) - 1
