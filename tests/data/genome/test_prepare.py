"""Visual Genome becomes COCO instances, and everything that is skipped is counted."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.data.detection.dataset import DetectionDataset
from bua.data.genome.prepare import GenomeOptions, prepare_genome
from bua.data.scenes.world import ATTRIBUTES, KINDS
from bua.errors import InputError

OPTIONS = {
    "classes": None,
    "attributes": None,
    "top_classes": 2500,
    "top_attributes": 1000,
    "count": "first",
    "max_attributes": 16,
    "captions": None,
    "images": None,
    "val": 0,
    "test": 0,
    "seed": 0,
}


def prepare(source: Path, out: Path, **more) -> tuple[dict, dict]:
    """Prepare the files; return the report and the content of the instances by split."""
    report = prepare_genome(source, out, GenomeOptions(**(OPTIONS | more)), report=lambda line: None)
    splits = ("train", "val", "test")
    return report, {name: json.loads((out / f"instances_{name}.json").read_text()) for name in splits}


def make_object(object_id: int, name: str, box=(1, 1, 4, 4), attributes=None) -> dict:
    record = {"object_id": object_id, "names": [name], **dict(zip("xywh", box, strict=True))}
    return record if attributes is None else record | {"attributes": attributes}


def write(folder: Path, images: dict[int, list[dict]], coco=None) -> Path:
    """Write the official files of images of 10 x 8 pixels with the given objects."""
    folder.mkdir(exist_ok=True)
    sides = {"width": 10, "height": 8}
    metadata = [{"image_id": n, "url": f"x/VG_100K/{n}.jpg", "coco_id": coco, **sides} for n in images]
    without_attributes = {
        n: [{k: v for k, v in o.items() if k != "attributes"} for o in os] for n, os in images.items()
    }
    (folder / "image_data.json").write_text(json.dumps(metadata))
    graphs = [{"image_id": n, "objects": objects} for n, objects in without_attributes.items()]
    (folder / "scene_graphs.json").write_text(json.dumps(graphs))
    attributes = [{"image_id": n, "attributes": objects} for n, objects in images.items()]
    (folder / "attributes.json").write_text(json.dumps(attributes))
    return folder


def test_names_attributes_and_boxes_follow_the_rules(tmp_path) -> None:
    objects = [
        make_object(1, "Small white dog", (-2, 1, 5, 99), ["furry and small", "black and white"]),
        make_object(2, "cat.", attributes=["Red.", "red"]),
        make_object(3, "cat", (20, 20, 4, 4), ["red"]),
        make_object(4, "dog", (3, 3, 0, 2)),
    ]
    report, files = prepare(write(tmp_path / "s", {7: objects}), tmp_path / "o")
    train = files["train"]
    classes = {c["id"]: c["name"] for c in train["categories"]}
    attributes = {a["id"]: a["name"] for a in train["attributes"]}
    first, second = train["annotations"]
    assert [classes[a["category_id"]] for a in (first, second)] == ["dog", "cat"]
    names = [attributes[n] for n in first["attribute_ids"]]
    assert names == ["small", "white", "furry"]  # "black and white" is second, so it is not counted
    assert [attributes[n] for n in second["attribute_ids"]] == ["red"]
    assert (first["bbox"], first["area"]) == ([0, 1, 3, 7], 21)
    assert (first["object_id"], first["image_id"], first["iscrowd"]) == (1, 7, 0)
    image = {"id": 7, "file_name": "VG_100K/7.jpg", "width": 10, "height": 8, "coco_id": None}
    assert train["images"] == [image]
    counts = report["counts"]
    assert counts["objects_outside_of_the_image"] == 2
    assert counts["boxes_clipped"] == 1
    assert counts["attributes_duplicated"] == 2
    assert counts["attributes_split_at_and"] == 1
    assert counts["attributes_of_skipped_objects"] == 1
    assert counts["names_with_leading_attributes"] == 1
    assert report["names_skipped_as_invalid"] == 0


def test_names_that_cannot_be_written_are_counted_in_a_new_folder_of_a_new_folder(tmp_path) -> None:
    """Of objects and of attributes; names that the vocabularies are given for are not counted."""
    objects = [
        make_object(1, "dog, cat", attributes=["red, blue"]),
        make_object(2, "dog", attributes=["red"]),
    ]
    source = write(tmp_path / "s", {7: objects})
    report, files = prepare(source, tmp_path / "new" / "folder")
    assert report["names_skipped_as_invalid"] == 2
    assert [c["name"] for c in files["train"]["categories"]] == ["dog"]
    (tmp_path / "o.txt").write_text("dog\n")
    (tmp_path / "a.txt").write_text("red\n")
    given_both, _ = prepare(
        source, tmp_path / "given", classes=tmp_path / "o.txt", attributes=tmp_path / "a.txt"
    )
    assert given_both["names_skipped_as_invalid"] == 0


def test_vocabularies_count_the_first_attribute_of_an_object_or_all(tmp_path) -> None:
    objects = [make_object(n, "dog", attributes=["red and old", "big"]) for n in range(2)]
    source = write(tmp_path / "s", {1: [*objects, make_object(9, "tall dog")]})
    for count, expected in (("first", ["old", "red", "tall"]), ("all", ["big", "old", "red", "tall"])):
        _, files = prepare(source, tmp_path / "o", count=count)
        assert [a["name"] for a in files["train"]["attributes"]] == expected
    _, files = prepare(source, tmp_path / "o", count="all", top_attributes=2)
    assert [a["name"] for a in files["train"]["attributes"]] == ["big", "old"]
    with pytest.raises(InputError, match="count=some: must be first or all"):
        prepare(source, tmp_path / "o", count="some")


def test_given_vocabularies_join_synonyms(tmp_path) -> None:
    (tmp_path / "o.txt").write_text("dog,hound\ncat")
    (tmp_path / "a.txt").write_text("gray,grey")
    objects = [
        make_object(1, "hound", attributes=["grey", "gray"]),
        make_object(2, "fox"),
        make_object(3, "cat"),
    ]
    source = write(tmp_path / "s", {1: objects, 2: [make_object(4, "fox")]})
    vocabularies = {"classes": str(tmp_path / "o.txt"), "attributes": str(tmp_path / "a.txt")}
    report, files = prepare(source, tmp_path / "o", **vocabularies)
    labels = [(a["category_id"], a["attribute_ids"]) for a in files["train"]["annotations"]]
    assert labels == [(1, [1]), (2, [])]
    assert report["images"]["without_boxes"] == 1
    assert report["counts"]["objects_out_of_vocabulary"] == 2
    assert report["counts"]["boxes_without_attributes"] == 1
    assert (tmp_path / "o" / "objects_vocab.txt").read_text() == "dog,hound\ncat\n"


def test_a_vocabulary_without_any_object_is_refused_and_nothing_is_written(tmp_path) -> None:
    (tmp_path / "o.txt").write_text("cat")
    source = write(tmp_path / "s", {1: [make_object(1, "dog")]})
    with pytest.raises(InputError, match="no image of train has an object of any of the 1 classes"):
        prepare(source, tmp_path / "o", classes=str(tmp_path / "o.txt"))
    assert not list((tmp_path / "o").iterdir())
    with pytest.raises(InputError, match="scene_graphs.json: no object has a name"):
        prepare(write(tmp_path / "s", {1: [make_object(1, ".")]}), tmp_path / "o")


NAMES = st.sampled_from(["dog", "Small dog", "white grey dog.", "cat", "rare thing", "", "white"])
TEXTS = st.lists(
    st.sampled_from(["red", "Red.", "red and old", "black and white", "odd", "", 3, None]), max_size=5
)
BOXES = st.tuples(*[st.integers(-4, 12)] * 4)
OBJECTS = st.lists(
    st.builds(make_object, st.integers(1, 5), NAMES, BOXES, st.one_of(st.none(), TEXTS)), max_size=5
)
IMAGES = st.dictionaries(st.integers(1, 30), OBJECTS, min_size=1, max_size=5)


@given(images=IMAGES, extra=st.dictionaries(st.integers(1, 30), OBJECTS, max_size=3), limit=st.integers(1, 3))
def test_every_object_and_every_attribute_is_written_or_counted(
    images, extra, limit, tmp_path_factory
) -> None:
    folder, images = tmp_path_factory.mktemp("g"), images | {99: [make_object(1, "dog")]}
    source = write(folder / "s", images)
    attributes = json.loads((source / "attributes.json").read_text())
    for n, objects in extra.items():
        attributes.append({"image_id": n, "attributes": [o | {"object_id": 9} for o in objects]})
    (source / "attributes.json").write_text(json.dumps(attributes))
    (folder / "o.txt").write_text("dog\ncat\nwhite")
    (folder / "a.txt").write_text("red\nsmall\nwhite\nold\ngrey")
    vocabularies = {"classes": str(folder / "o.txt"), "attributes": str(folder / "a.txt")}
    report, files = prepare(source, folder / "out", max_attributes=limit, **vocabularies)
    counts, annotations = report["counts"], files["train"]["annotations"]
    assert counts["objects"] == sum(map(len, images.values()))
    skipped = counts["objects_out_of_vocabulary"] + counts["objects_outside_of_the_image"]
    assert counts["objects"] == counts["boxes_written"] + skipped
    assert counts["boxes_written"] == len(annotations)
    reasons = (
        "of_unknown_objects",
        "of_skipped_objects",
        "out_of_vocabulary",
        "duplicated",
        "over_the_limit",
    )
    skipped = sum(counts[f"attributes_{reason}"] for reason in reasons)
    total = counts["attributes"] + counts["attributes_from_names"]
    assert total == counts["attributes_written"] + skipped
    assert counts["attributes_written"] == sum(len(a["attribute_ids"]) for a in annotations)
    assert all(len(a["attribute_ids"]) <= limit for a in annotations)
    for a in annotations:
        x, y, w, h = a["bbox"]
        assert 0 <= x < x + w <= 10
        assert 0 <= y < y + h <= 8


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def karpathy(scenes, tmp_path_factory) -> Path:
    """Return a file in Karpathy's format with the splits of the scenes."""
    ids = {n: json.loads((scenes / f"captions_{n}.json").read_text())["images"] for n in ("val", "test")}
    ids["train"] = json.loads((scenes / "captions_train.json").read_text())["images"]
    images = [
        {"cocoid": image["id"], "split": split, "filepath": "val2014"}
        for split, split_images in ids.items()
        for image in split_images
    ]
    path = tmp_path_factory.mktemp("k") / "dataset_coco.json"
    path.write_text(json.dumps({"images": images, "dataset": "coco"}))
    return path


def test_scenes_survive_the_conversion_to_and_from_the_official_files(scenes, karpathy, tmp_path) -> None:
    before = digests(scenes / "genome")
    options = {"captions": str(karpathy), "images": str(scenes), "val": 8, "test": 12, "count": "all"}
    report, files = prepare(scenes / "genome", tmp_path / "o", **options)
    assert digests(scenes / "genome") == before
    converted = DetectionDataset(tmp_path / "o" / "instances_val.json", scenes, flip=False)
    direct = DetectionDataset(scenes / "instances_val.json", scenes / "images", flip=False)
    assert set(converted.classes) == set(KINDS)
    assert set(converted.attributes) == set(ATTRIBUTES)
    assert len(converted) == len(direct)
    for n in range(len(converted)):
        (a, target_a, id_a), (b, target_b, id_b) = converted[n], direct[n]
        assert id_a == id_b
        assert a.equal(b)
        assert target_a["boxes"].equal(target_b["boxes"])
        assert labels(converted, target_a) == labels(direct, target_b)
    novel = json.loads((scenes / "captions_novel.json").read_text())["images"]
    drawn = {image["id"] for image in files["test"]["images"]} & {image["id"] for image in novel}
    assert len(drawn) == 4  # images outside of Karpathy's file fill test up to 12
    assert report["origins"]["test"] == {"not Karpathy's": 4, "val2014": 8}
    assert report["origins"]["train"]["val2014"] == 24


def labels(data: DetectionDataset, target) -> list[tuple[str, set[str]]]:
    """Return the names of the class and the attributes of every box."""
    return [
        (data.classes[int(n) - 1], {data.attributes[int(a) - 1] for a in row.nonzero()})
        for n, row in zip(target["labels"], target["attributes"], strict=True)
    ]


def test_the_same_arguments_give_the_same_bytes_even_from_objects_json(scenes, tmp_path) -> None:
    prepare(scenes / "genome", tmp_path / "a", val=5, test=5)
    prepare(scenes / "genome", tmp_path / "b", val=5, test=5)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    (tmp_path / "s").mkdir()
    for name in ("image_data", "attributes", "scene_graphs"):
        target = tmp_path / "s" / f"{name.replace('scene_graphs', 'objects')}.json"
        target.write_bytes((scenes / "genome" / f"{name}.json").read_bytes())
    prepare(tmp_path / "s", tmp_path / "c", val=5, test=5)
    assert digests(tmp_path / "a") == digests(tmp_path / "c")
    prepare(scenes / "genome", tmp_path / "d", val=5, test=5, seed=1)
    assert digests(tmp_path / "a") != digests(tmp_path / "d")


def test_splits_cover_all_images_and_pycocotools_reads_the_instances(scenes, tmp_path) -> None:
    from pycocotools.coco import COCO

    report, _ = prepare(scenes / "genome", tmp_path / "o", val=5, test=6)
    splits = json.loads((tmp_path / "o" / "splits.json").read_text())
    assert {name: len(ids) for name, ids in splits.items()} == {"train": 35, "val": 5, "test": 6}
    for name, ids in splits.items():
        coco = COCO(str(tmp_path / "o" / f"instances_{name}.json"))
        assert coco.getImgIds() == ids
        assert len(coco.anns) == report["boxes"][name]


def test_an_image_without_photo_is_skipped_with_its_objects_and_attributes(scenes, tmp_path) -> None:
    (tmp_path / "photos").mkdir()
    for path in sorted((scenes / "images").iterdir())[1:]:
        (tmp_path / "photos" / path.name).symlink_to(path)
    report, files = prepare(scenes / "genome", tmp_path / "o", images=str(tmp_path / "photos"), count="all")
    assert report["problems"] == ["image 1000000: photo 000001000000.jpg does not exist"]
    counts = report["counts"]
    skipped = counts["objects_of_missing_images"]
    assert skipped >= 3
    assert counts["objects"] == counts["boxes_written"] + skipped
    assert counts["attributes_of_skipped_objects"] == 3 * skipped
    assert [i["file_name"] for i in files["train"]["images"]][0] == "000001000001.jpg"


def test_an_error_halfway_keeps_the_previous_files(scenes, tmp_path) -> None:
    prepare(scenes / "genome", tmp_path / "o", val=5, test=5)
    before = digests(tmp_path / "o")
    (tmp_path / "s").mkdir()
    for path in (scenes / "genome").iterdir():
        (tmp_path / "s" / path.name).write_bytes(path.read_bytes())
    graphs = json.loads((tmp_path / "s" / "scene_graphs.json").read_text())
    graphs[20]["objects"][1]["w"] = "wide"
    (tmp_path / "s" / "scene_graphs.json").write_text(json.dumps(graphs))
    (tmp_path / "v.txt").write_text("\n".join(KINDS))
    (tmp_path / "a.txt").write_text("red")
    vocabularies = {"classes": str(tmp_path / "v.txt"), "attributes": str(tmp_path / "a.txt")}
    with pytest.raises(InputError, match=r"image 1000020: objects\[1\].w is 'wide'"):
        prepare(tmp_path / "s", tmp_path / "o", val=5, test=5, **vocabularies)
    assert digests(tmp_path / "o") == before
