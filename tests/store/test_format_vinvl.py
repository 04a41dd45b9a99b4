"""VinVL's predictions and Oscar's features as their authors' code writes them, and grid features."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bua.errors import InputError
from bua.store.formats.grid import infer_grid, write_tensor
from bua.text.names import read_names
from tests.helpers.foreign_formats import (
    ATTRIBUTES,
    CLASSES,
    export_file,
    identical,
    import_file,
    sample_grid,
    sample_regions,
    to_base64,
    write_sizes,
    write_store,
)

IMAGES = {n: sample_regions(n + 1, n, size=(300, 200 + n)) for n in (1, 2, 3)}
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
        found = [
            {**o, "feature": to_base64(f), **changes} for o, f in zip(objects(r), r.features, strict=True)
        ]
        lines.append(f"{KEYS[n]}\t{json.dumps({'objects': found, 'relations': None})}\n")
    path.write_text("".join(lines))
    return path


def hw(path: Path, images: dict) -> Path:
    sizes = [f'{KEYS[n]}\t[{{"height": {r.size[0]}, "width": {r.size[1]}}}]\n' for n, r in images.items()]
    path.write_text("".join(sizes))
    return path


def test_predictions_are_read_with_their_classes_and_attributes(tmp_path) -> None:
    path = predictions(tmp_path / "predictions.tsv", IMAGES)
    store, result = import_file(
        "vinvl_tsv", path, tmp_path / "b.h5", images=hw(tmp_path / "train.hw.tsv", IMAGES)
    )
    assert (store.image_ids, result.dropped) == ([1, 2, 3], {})
    assert all(identical(store[n], r) for n, r in IMAGES.items())


def test_sizes_next_to_the_predictions_are_found(tmp_path) -> None:
    path = predictions(tmp_path / "predictions.tsv", IMAGES)
    hw(tmp_path / "predictions.hw.tsv", IMAGES)
    assert import_file("vinvl_tsv", path, tmp_path / "b.h5")[0][2].size == (300, 202)


def test_without_a_vocabulary_names_are_left_out_and_this_is_reported(tmp_path) -> None:
    path = predictions(tmp_path / "predictions.tsv", IMAGES)
    hw(tmp_path / "predictions.hw.tsv", IMAGES)
    messages: list[str] = []
    nameless = {"class_names": (), "attribute_names": ()}
    store, _ = import_file("vinvl_tsv", path, tmp_path / "b.h5", messages, source=nameless)
    assert set(store[1].arrays()) == {"features", "boxes", "class_score"}
    assert any("set classes= and attributes= to keep them" in line for line in messages)


def test_a_class_missing_in_the_vocabulary_is_named(tmp_path) -> None:
    path = predictions(tmp_path / "p.tsv", {1: IMAGES[1]})
    path.write_text(
        path.read_text() + predictions(tmp_path / "q.tsv", {2: IMAGES[2]}, **{"class": "ox"}).read_text()
    )
    hw(tmp_path / "p.hw.tsv", IMAGES)
    result = import_file("vinvl_tsv", path, tmp_path / "b.h5")[1]
    assert result.dropped == {"p.tsv line 2": "class 'ox' is not in the vocabulary"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rect": [1, 2, 3]}, "an object has no rect of four numbers"),
        ({"rect": ["a", 2, 3, 4]}, "an object has no rect of four numbers"),
        ({"feature": None}, "an object has no feature"),
        ({"feature": "!!!!"}, "feature contains characters that are not base64"),
        ({"conf": "high"}, "a score is not a number"),
    ],
)
def test_broken_objects_are_reported(change, reason, tmp_path) -> None:
    path = predictions(tmp_path / "p.tsv", {1: IMAGES[1]})
    path.write_text(path.read_text() + predictions(tmp_path / "q.tsv", {2: IMAGES[2]}, **change).read_text())
    hw(tmp_path / "p.hw.tsv", IMAGES)
    assert import_file("vinvl_tsv", path, tmp_path / "b.h5")[1].dropped == {"p.tsv line 2": reason}


def test_lines_that_are_not_json_are_dropped(tmp_path) -> None:
    path = predictions(tmp_path / "p.tsv", {1: IMAGES[1]})
    path.write_text(path.read_text() + '2\t{"objects": [\n3\t{"objects": []}\n4\t7\n5\n')
    hw(tmp_path / "p.hw.tsv", IMAGES)
    dropped = import_file("vinvl_tsv", path, tmp_path / "b.h5")[1].dropped
    assert [reason.split(" (")[0] for reason in dropped.values()] == [
        "not valid JSON",
        "has no regions",
        "list of objects is missing",
        "row must have 2 fields, got 1",
    ]


def both(r) -> np.ndarray:
    """Return features followed by the six numbers of the box."""
    height, width = r.size
    x1, y1, x2, y2 = r.boxes.T
    w, h = (x2 - x1) / width, (y2 - y1) / height
    return np.concatenate(
        [r.features, np.stack([x1 / width, y1 / height, x1 / width + w, y1 / height + h, w, h], 1)], 1
    )


def features(path: Path, images: dict, columns: bool = False) -> Path:
    """Write a file like Oscar's: JSON for captioning, columns for pretraining."""
    lines = []
    for n, r in images.items():
        text = json.dumps({"num_boxes": len(r), "features": to_base64(both(r))})
        lines.append(f"{KEYS[n]}\t{len(r)}\t{to_base64(both(r))}\n" if columns else f"{KEYS[n]}\t{text}\n")
    path.write_text("".join(lines))
    return path


@pytest.mark.parametrize("columns", [True, False])
def test_oscars_features_are_read_with_boxes_from_their_fractions(columns: bool, tmp_path) -> None:
    path = features(tmp_path / "train.feature.tsv", IMAGES, columns)
    store, result = import_file(
        "oscar_tsv", path, tmp_path / "b.h5", images=hw(tmp_path / "x.hw.tsv", IMAGES)
    )
    assert result.dropped == {}
    for n, r in IMAGES.items():
        assert store[n].features.tobytes() == r.features.tobytes()
        assert np.allclose(store[n].boxes, r.boxes, atol=1e-3)


def test_oscars_labels_give_exact_boxes_sizes_and_classes(tmp_path) -> None:
    path = features(tmp_path / "train.feature.tsv", IMAGES)
    lines = [f"{KEYS[n]}\t{json.dumps(objects(r))}\n" for n, r in reversed(IMAGES.items())]
    (tmp_path / "train.label.tsv").write_text("".join(lines))
    store, result = import_file("oscar_tsv", path, tmp_path / "b.h5")
    assert (store.image_ids, result.dropped) == ([1, 2, 3], {})
    assert all(identical(store[n], r) for n, r in IMAGES.items())
    (tmp_path / "train.label.tsv").rename(tmp_path / "elsewhere.tsv")
    labels = {"labels": tmp_path / "elsewhere.tsv"}
    assert identical(import_file("oscar_tsv", path, tmp_path / "c.h5", source=labels)[0][1], IMAGES[1])
    labels = {"labels": tmp_path / "nowhere.tsv"}
    with pytest.raises(InputError, match="nowhere.tsv: file does not exist"):
        import_file("oscar_tsv", path, tmp_path / "d.h5", source=labels)


def test_features_without_the_six_numbers_of_the_box_are_refused(tmp_path) -> None:
    r = IMAGES[1]
    (tmp_path / "f.tsv").write_text(
        f"1\t{json.dumps({'num_boxes': len(r), 'features': to_base64(r.features + 9)})}\n"
    )
    with pytest.raises(InputError, match="the last 6 of 11 numbers of a region are not its box as fractions"):
        import_file(
            "oscar_tsv",
            tmp_path / "f.tsv",
            tmp_path / "b.h5",
            images=write_sizes(tmp_path / "s.json", IMAGES),
        )


def test_line_index_holds_the_offset_of_each_line(tmp_path) -> None:
    export_file("oscar_tsv", write_store(tmp_path / "a.h5", IMAGES), tmp_path / "train.feature.tsv")
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
    with pytest.raises(InputError, match="must be 1 to"):
        read_names(tmp_path / "v.json", "label")


def test_vocabulary_of_visual_genome_has_synonyms_and_no_final_line_end(tmp_path) -> None:
    (tmp_path / "v.txt").write_text("yolk\ngray,grey\n birthday ")
    assert read_names(tmp_path / "v.txt", "label") == ("yolk", "gray", "birthday")
    (tmp_path / "l.json").write_text('["a", "b"]')
    assert read_names(tmp_path / "l.json", "label") == ("a", "b")
    for content, message in (("", "contains no names"), ("a\n\nb", "line 2 has an empty name")):
        (tmp_path / "v.txt").write_text(content)
        with pytest.raises(InputError, match=message):
            read_names(tmp_path / "v.txt", "label")


GRIDS = {n: sample_grid((n, 4), n, width=6) for n in (1, 2, 3)}


def pth(folder: Path, zipped: bool = True) -> Path:
    """Write files like grid-feats-vqa: a tensor (1, D, H, W), in the current or the legacy torch format."""
    folder.mkdir()
    for n, r in GRIDS.items():
        grid = torch.from_numpy(r.features.T.reshape(1, 6, n, 4).copy())
        torch.save(grid, folder / f"{n}.pth", _use_new_zipfile_serialization=zipped)
    return folder


@pytest.mark.parametrize("zipped", [True, False])
def test_grids_are_read_row_by_row(zipped: bool, tmp_path) -> None:
    sizes = write_sizes(tmp_path / "s.json", GRIDS)
    store, result = import_file(
        "grid_feats_pth", pth(tmp_path / "g", zipped), tmp_path / "b.h5", images=sizes
    )
    assert result.dropped == {}
    assert all(identical(store[n], r) for n, r in GRIDS.items())


def test_grids_without_sizes_need_them_from_elsewhere(tmp_path) -> None:
    with pytest.raises(InputError, match="image size is missing; set images="):
        import_file("grid_feats_pth", pth(tmp_path / "g"), tmp_path / "b.h5")


def test_files_that_are_not_grids_are_dropped(tmp_path) -> None:
    sizes = write_sizes(tmp_path / "s.json", GRIDS)
    folder = pth(tmp_path / "g")
    torch.save({"a": 1}, folder / "2.pth")
    (folder / "3.pth").write_bytes(b"noise")
    result = import_file("grid_feats_pth", folder, tmp_path / "b.h5", images=sizes)[1]
    assert result.dropped["2.pth"] == "must be a tensor of shape (1, D, H, W), got dict"
    assert "not readable" in result.dropped["3.pth"]


def test_tensors_are_written_as_torch_reads_them(tmp_path) -> None:
    array = np.random.default_rng(0).standard_normal((1, 5, 3, 7)).astype(np.float32)
    write_tensor(tmp_path / "1.pth", array)
    found = torch.load(tmp_path / "1.pth", weights_only=True)
    assert found.dtype == torch.float32
    assert np.array_equal(found.numpy(), array)


def test_regions_that_are_not_a_grid_are_not_written_as_one(tmp_path) -> None:
    store = write_store(tmp_path / "a.h5", {4: sample_regions(6)})
    with pytest.raises(InputError, match="the 6 regions of image 4 are not the cells of a grid"):
        export_file("grid_feats_pth", store, tmp_path / "g")
    assert [infer_grid(r) for r in GRIDS.values()] == [(1, 4), (2, 4), (3, 4)]
