"""``bua detect``: what is in photographs, as JSON and as pictures."""

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bua.detectors.detections import Detection, detect_objects, stored_detections, tags
from bua.detectors.detector import Photo
from bua.detectors.frozen_detector import FrozenDetector
from bua.detectors.photo import read_photo
from bua.detectors.photos import PhotoFile, find_photos
from bua.engine.instantiate import instantiate
from bua.errors import InputError
from bua.io.atomic import write_text
from bua.store.reader import FeatureStore
from bua.visualize.labels import LabelledBox, draw_boxes

log = logging.getLogger(__name__)

Look = Callable[[PhotoFile, Photo], list[Detection]]


def main(config: Any) -> None:
    """Look at every photograph; write a JSON of all, and a picture of each."""
    out, photos = Path(config.out), find_photos(config.images, config.root)
    look = _from_store(config) if config.features is not None else _from_detector(config)
    (out / "pictures" if config.pictures else out).mkdir(parents=True, exist_ok=True)
    found, errors = [], 0
    for number, file in enumerate(photos):
        try:
            photo = read_photo(file.path)
            things = look(file, photo)
        except InputError as error:
            if len(photos) == 1:
                raise
            print(f"bua detect: {error}", file=sys.stderr)
            errors += 1
            continue
        found.append(_record(file, photo, things))
        if config.pictures:
            picture = out / "pictures" / f"{number:06d}_{file.path.stem}.jpg"
            labels = [LabelledBox(thing.box, _text(thing), thing.name) for thing in things[: config.drawn]]
            draw_boxes(photo, labels).save(picture, quality=90)
    if not found:
        raise InputError(f"{config.images}: none of its {len(photos)} photographs can be read")
    write_text(out / "detections.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    count = sum(len(record["things"]) for record in found)
    log.info(f"{out / 'detections.json'}: {len(found)} photographs, {count} things, {errors} unreadable")


def _from_detector(config: Any) -> Look:
    detector = instantiate(config.detector)
    if not isinstance(detector, FrozenDetector):
        raise InputError(f"detector={detector.name} names nothing; scenes_fpn, vg_c4 and fpn_r50 do")

    if not detector.class_names:
        raise InputError(
            f"{config.weights}: has no names of classes; give classes=FILE and attributes=FILE, a name a "
            "line (objects_vocab.txt and attributes_vocab.txt of the release)"
        )

    def look(file: PhotoFile, photo: Photo) -> list[Detection]:
        proposals = detector.propose([detector.resize.prepare(photo)])[0]
        return detect_objects(
            proposals,
            detector.class_names,
            detector.attribute_names,
            threshold=config.threshold,
            nms_iou=config.nms_iou,
            same_iou=config.same_iou,
            attribute_threshold=config.attribute_threshold,
            most_attributes=config.most_attributes,
            limit=config.limit,
        )

    return look


def _from_store(config: Any) -> Look:
    store = FeatureStore(config.features)

    def look(file: PhotoFile, photo: Photo) -> list[Detection]:
        regions = store[file.image_id]
        if regions.size != photo.shape[:2]:
            raise InputError(
                f"{file.path}: {photo.shape[1]} x {photo.shape[0]} pixels, but {store.path} is of one of "
                f"{regions.size[1]} x {regions.size[0]}"
            )
        names = store.metadata.class_names, store.metadata.attribute_names
        things = stored_detections(regions, *names, attribute_threshold=config.attribute_threshold)
        return [thing for thing in things if thing.score >= config.threshold or not thing.name][
            : config.limit
        ]

    return look


def _record(file: PhotoFile, photo: Photo, things: list[Detection]) -> dict[str, Any]:
    return {
        "image_id": file.image_id,
        "file": str(file.path),
        "width": photo.shape[1],
        "height": photo.shape[0],
        "tags": [{"name": name, "score": round(score, 4)} for name, score in tags(things).items()],
        "things": [
            {
                "label": thing.label,
                "box": [round(v, 2) for v in thing.box],
                "class": thing.name,
                "score": round(thing.score, 4),
                "attributes": [{"name": n, "score": round(s, 4)} for n, s in thing.attributes],
            }
            for thing in things
        ],
    }


def _text(thing: Detection) -> str:
    return f"{thing.label} {thing.score:.2f}" if thing.name else ""
