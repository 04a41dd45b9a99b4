"""VinVL's predictions and Oscar's features, as their authors' code writes them; grid features."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bua.errors import InputError
from bua.store.formats.grid import cells_of, write_tensor
from bua.text.names import read_names
from tests.helpers.foreign_formats import (
    ATTRIBUTES,
    CLASSES,
    b64,
    bring,
    grid_sample,
    same,
    sample,
    send,
    sizes_json,
    write,
)

IMAGES = {n: sample(n + 1, n, size=(300, 200 + n)) for n in (1, 2, 3)}
KEYS = {n: f"{n:012d}" for n in IMAGES}


def objects(r) -> list[dict]:
    return [
        {
            "rect": r.boxes[k].tolist(),
            "bbox_id": k,
            "class": CLASSES[r.class_id[k]],
            "conf": float(r.class_score[k]),
            "attributes": [ATTRIBUTES[r.attribute_id[k]], "small"],
            "attr_scores": [float(r.attribute_score[k]), 0.01],
        }
        for k in range(len(r))
    ]


def predictions(path: Path, images: dict, **changes) -> Path:
    lines = []
    for n, r in images.items():
        found = [{**o, "feature": b64(f), **changes} for o, f in zip(objects(r), r.features, strict=True)]
        lines.append(f"{KEYS[n]}\t{json.dumps({'objects': found, 'relations': None})}\n")
    path.write_text("".join(lines))
    return path


def hw(path: Path, images: dict) -> Path:
    sizes = [f'{KEYS[n]}\t[{{"height": {r.size[0]}, "width": {r.size[1]}}}]\n' for n, r in images.items()]
    path.write_text("".join(sizes))
    return path


def test_predictions_are_read_with_their_classes_and_attributes(tmp_path) -> None:
    path = predictions(tmp_path / "predictions.tsv", IMAGES)
    store, done = bring("vinvl_tsv", path, tmp_path / "b.h5", images=hw(tmp_path / "train.hw.tsv", IMAGES))
    assert (store.image_ids, done.dropped) == ([1, 2, 3], {})
    assert all(same(store[n], r) for n, r in IMAGES.items())


def test_sizes_beside_the_predictions_are_found(tmp_path) -> None:
    path = predictions(tmp_path / "predictions.tsv", IMAGES)
    hw(tmp_path / "predictions.hw.tsv", IMAGES)
    assert bring("vinvl_tsv", path, tmp_path / "b.h5")[0][2].size == (300, 202)


def test_without_a_vocabulary_names_are_left_out_and_this_is_said(tmp_path) -> None:
    path = predictions(tmp_path / "predictions.tsv", IMAGES)
    hw(tmp_path / "predictions.hw.tsv", IMAGES)
    said: list[str] = []
    nameless = {"class_names": (), "attribute_names": ()}
    store, _ = bring("vinvl_tsv", path, tmp_path / "b.h5", said, source=nameless)
    assert set(store[1].arrays()) == {"features", "boxes", "class_score"}
    assert any("give classes= and attributes= to keep them" in line for line in said)


def test_a_class_that_the_vocabulary_lacks_is_named(tmp_path) -> None:
    path = predictions(tmp_path / "p.tsv", {1: IMAGES[1]})
    path.write_text(
        path.read_text() + predictions(tmp_path / "q.tsv", {2: IMAGES[2]}, **{"class": "ox"}).read_text()
    )
    hw(tmp_path / "p.hw.tsv", IMAGES)
    done = bring("vinvl_tsv", path, tmp_path / "b.h5")[1]
    assert done.dropped == {"p.tsv line 2": "class 'ox' is not in the vocabulary"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rect": [1, 2, 3]}, "an object has no rect of four numbers"),
        ({"rect": ["a", 2, 3, 4]}, "an object has no rect of four numbers"),
        ({"feature": None}, "an object has no feature"),
        ({"feature": "!!!!"}, "feature holds characters that are not base64"),
        ({"conf": "high"}, "a score is not a number"),
    ],
)
def test_broken_objects_are_named(change, reason, tmp_path) -> None:
    path = predictions(tmp_path / "p.tsv", {1: IMAGES[1]})
    path.write_text(path.read_text() + predictions(tmp_path / "q.tsv", {2: IMAGES[2]}, **change).read_text())
    hw(tmp_path / "p.hw.tsv", IMAGES)
    assert bring("vinvl_tsv", path, tmp_path / "b.h5")[1].dropped == {"p.tsv line 2": reason}


def test_lines_that_are_no_json_are_left_out(tmp_path) -> None:
    path = predictions(tmp_path / "p.tsv", {1: IMAGES[1]})
    path.write_text(path.read_text() + '2\t{"objects": [\n3\t{"objects": []}\n4\t7\n5\n')
    hw(tmp_path / "p.hw.tsv", IMAGES)
    dropped = bring("vinvl_tsv", path, tmp_path / "b.h5")[1].dropped
    assert [reason.split(" (")[0] for reason in dropped.values()] == [
        "not JSON",
        "there are no regions",
        "there is no list of objects",
        "1 fields, 2 are needed",
    ]


def both(r) -> np.ndarray:
    """Return features with the six numbers of the box behind them."""
    height, width = r.size
    x1, y1, x2, y2 = r.boxes.T
    w, h = (x2 - x1) / width, (y2 - y1) / height
    return np.concatenate(
        [r.features, np.stack([x1 / width, y1 / height, x1 / width + w, y1 / height + h, w, h], 1)], 1
    )


def features(path: Path, images: dict, columns: bool = False) -> Path:
    """Write Oscar's file: JSON for captioning, columns for pretraining."""
    lines = []
    for n, r in images.items():
        text = json.dumps({"num_boxes": len(r), "features": b64(both(r))})
        lines.append(f"{KEYS[n]}\t{len(r)}\t{b64(both(r))}\n" if columns else f"{KEYS[n]}\t{text}\n")
    path.write_text("".join(lines))
    return path


@pytest.mark.parametrize("columns", [True, False])
def test_oscars_features_are_read_with_boxes_from_their_fractions(columns: bool, tmp_path) -> None:
    path = features(tmp_path / "train.feature.tsv", IMAGES, columns)
    store, done = bring("oscar_tsv", path, tmp_path / "b.h5", images=hw(tmp_path / "x.hw.tsv", IMAGES))
    assert done.dropped == {}
    for n, r in IMAGES.items():
        assert store[n].features.tobytes() == r.features.tobytes()
        assert np.allclose(store[n].boxes, r.boxes, atol=1e-3)


def test_oscars_labels_give_exact_boxes_sizes_and_classes(tmp_path) -> None:
    path = features(tmp_path / "train.feature.tsv", IMAGES)
    lines = [f"{KEYS[n]}\t{json.dumps(objects(r))}\n" for n, r in reversed(IMAGES.items())]
    (tmp_path / "train.label.tsv").write_text("".join(lines))
    store, done = bring("oscar_tsv", path, tmp_path / "b.h5")
    assert (store.image_ids, done.dropped) == ([1, 2, 3], {})
    assert all(same(store[n], r) for n, r in IMAGES.items())
    (tmp_path / "train.label.tsv").rename(tmp_path / "elsewhere.tsv")
    labels = {"labels": tmp_path / "elsewhere.tsv"}
    assert same(bring("oscar_tsv", path, tmp_path / "c.h5", source=labels)[0][1], IMAGES[1])
    labels = {"labels": tmp_path / "nowhere.tsv"}
    with pytest.raises(InputError, match="nowhere.tsv: there is no such file"):
        bring("oscar_tsv", path, tmp_path / "d.h5", source=labels)


def test_features_without_the_six_numbers_of_the_box_are_told(tmp_path) -> None:
    r = IMAGES[1]
    (tmp_path / "f.tsv").write_text(
        f"1\t{json.dumps({'num_boxes': len(r), 'features': b64(r.features + 9)})}\n"
    )
    with pytest.raises(InputError, match="the last 6 of 11 numbers are not fractions of a box"):
        bring(
            "oscar_tsv", tmp_path / "f.tsv", tmp_path / "b.h5", images=sizes_json(tmp_path / "s.json", IMAGES)
        )


def test_line_index_says_where_each_line_begins(tmp_path) -> None:
    send("oscar_tsv", write(tmp_path / "a.h5", IMAGES), tmp_path / "train.feature.tsv")
    content = (tmp_path / "train.feature.tsv").read_bytes()
    starts = [int(line) for line in (tmp_path / "train.lineidx").read_text().split()]
    assert [content[s:].split(b"\t")[0] for s in starts] == [b"1", b"2", b"3"]
    assert sorted(p.name for p in tmp_path.glob("train.*.tsv")) == [
        "train.feature.tsv",
        "train.hw.tsv",
        "train.label.tsv",
    ]


def test_vocabulary_of_vinvl_counts_from_one(tmp_path) -> None:
    content = {
        "label_to_idx": {"__background__": 0, "dog": 2, "cat": 1},
        "attribute_to_idx": {"red": 1},
    }
    (tmp_path / "v.json").write_text(json.dumps(content))
    assert read_names(tmp_path / "v.json", "label") == ("cat", "dog")
    assert read_names(tmp_path / "v.json", "attribute") == ("red",)
    (tmp_path / "v.json").write_text(json.dumps({"label_to_idx": {"dog": 3}}))
    with pytest.raises(InputError, match="does not number its names from 1 on"):
        read_names(tmp_path / "v.json", "label")


def test_vocabulary_of_visual_genome_has_synonyms_and_no_last_line_end(tmp_path) -> None:
    (tmp_path / "v.txt").write_text("yolk\ngray,grey\n birthday ")
    assert read_names(tmp_path / "v.txt", "label") == ("yolk", "gray", "birthday")
    (tmp_path / "l.json").write_text('["a", "b"]')
    assert read_names(tmp_path / "l.json", "label") == ("a", "b")
    for content, message in (("", "there are no names"), ("a\n\nb", "line 2 is ''")):
        (tmp_path / "v.txt").write_text(content)
        with pytest.raises(InputError, match=message):
            read_names(tmp_path / "v.txt", "label")


GRIDS = {n: grid_sample((n, 4), n, width=6) for n in (1, 2, 3)}


def pth(folder: Path, zipped: bool = True) -> Path:
    """Write what grid-feats-vqa writes: a tensor (1, D, H, W), with the torch of now or of then."""
    folder.mkdir()
    for n, r in GRIDS.items():
        grid = torch.from_numpy(r.features.T.reshape(1, 6, n, 4).copy())
        torch.save(grid, folder / f"{n}.pth", _use_new_zipfile_serialization=zipped)
    return folder


@pytest.mark.parametrize("zipped", [True, False])
def test_grids_are_read_row_by_row(zipped: bool, tmp_path) -> None:
    sizes = sizes_json(tmp_path / "s.json", GRIDS)
    store, done = bring("grid_feats_pth", pth(tmp_path / "g", zipped), tmp_path / "b.h5", images=sizes)
    assert done.dropped == {}
    assert all(same(store[n], r) for n, r in GRIDS.items())


def test_grids_without_sizes_are_asked_for_them(tmp_path) -> None:
    with pytest.raises(InputError, match="its size is not told: give images="):
        bring("grid_feats_pth", pth(tmp_path / "g"), tmp_path / "b.h5")


def test_what_is_no_grid_is_left_out(tmp_path) -> None:
    sizes = sizes_json(tmp_path / "s.json", GRIDS)
    folder = pth(tmp_path / "g")
    torch.save({"a": 1}, folder / "2.pth")
    (folder / "3.pth").write_bytes(b"noise")
    done = bring("grid_feats_pth", folder, tmp_path / "b.h5", images=sizes)[1]
    assert done.dropped["2.pth"] == "it holds dict, a tensor (1, D, H, W) is needed"
    assert "not readable" in done.dropped["3.pth"]


def test_tensors_are_written_as_torch_reads_them(tmp_path) -> None:
    array = np.random.default_rng(0).standard_normal((1, 5, 3, 7)).astype(np.float32)
    write_tensor(tmp_path / "1.pth", array)
    found = torch.load(tmp_path / "1.pth", weights_only=True)
    assert found.dtype == torch.float32
    assert np.array_equal(found.numpy(), array)


def test_regions_that_are_no_grid_are_not_written_as_one(tmp_path) -> None:
    store = write(tmp_path / "a.h5", {4: sample(6)})
    with pytest.raises(InputError, match="the 6 regions of image 4 are not the cells of a grid"):
        send("grid_feats_pth", store, tmp_path / "g")
    assert [cells_of(r) for r in GRIDS.values()] == [(1, 4), (2, 4), (3, 4)]
