"""``bua detect``: detect the objects in images, as JSON and as pictures."""

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bua.detectors.detections import (
    Detection,
    DetectionOptions,
    detect_objects,
    image_tags,
    stored_detections,
)
from bua.detectors.detector import FrozenDetector
from bua.detectors.photo import Photo, PhotoFile, find_photos, read_photo
from bua.engine.instantiate import instantiate
from bua.errors import InputError
from bua.io.files import write_text
from bua.store.reader import FeatureStore
from bua.visualize.labels import LabelledBox, draw_boxes

log = logging.getLogger(__name__)

#: Function from an image file and its pixels to the objects in the image.
Detect = Callable[[PhotoFile, Photo], list[Detection]]


def main(config: Any) -> None:
    """Detect the objects in every image; write one JSON file for all images and a picture of each."""
    out, photos = Path(config.out), find_photos(config.images, config.root)
    detect = _from_store(config) if config.features is not None else _from_detector(config)
    (out / "pictures" if config.pictures else out).mkdir(parents=True, exist_ok=True)
    records, num_errors = [], 0
    for number, file in enumerate(photos):
        try:
            photo = read_photo(file.path)
            detections = detect(file, photo)
        except InputError as error:
            if len(photos) == 1:
                raise
            print(f"bua detect: {error}", file=sys.stderr)
            num_errors += 1
            continue
        records.append(_record(file, photo, detections))
        if config.pictures:
            picture = out / "pictures" / f"{number:06d}_{file.path.stem}.jpg"
            labels = [LabelledBox(d.box, _caption(d), d.name) for d in detections[: config.drawn]]
            draw_boxes(photo, labels).save(picture, quality=90)
    if not records:
        raise InputError(f"{config.images}: none of {len(photos)} images can be read")
    write_text(out / "detections.json", json.dumps(records, indent=1, ensure_ascii=False) + "\n")
    num_objects = sum(len(record["objects"]) for record in records)
    log.info(
        f"{out / 'detections.json'}: {len(records)} images, {num_objects} objects, {num_errors} unreadable"
    )


def _from_detector(config: Any) -> Detect:
    detector = instantiate(config.detector)
    if not isinstance(detector, FrozenDetector):
        raise InputError(
            f"detector={detector.name} does not detect objects; use one such as scenes_fpn, vg_c4 or fpn_r50"
        )
    if not detector.class_names:
        raise InputError(
            f"{config.weights}: has no class names; pass classes=FILE and attributes=FILE with one name per "
            "line (objects_vocab.txt and attributes_vocab.txt of the release)"
        )
    options = DetectionOptions(
        score_threshold=config.threshold,
        nms_iou=config.nms_iou,
        cross_class_iou=config.same_iou,
        attribute_threshold=config.attribute_threshold,
        max_attributes=config.most_attributes,
        max_detections=config.limit,
    )

    def detect(file: PhotoFile, photo: Photo) -> list[Detection]:
        proposals = detector.propose([detector.resize.prepare(photo)])[0]
        return detect_objects(proposals, detector.class_names, detector.attribute_names, options)

    return detect


def _from_store(config: Any) -> Detect:
    store = FeatureStore(config.features)

    def detect(file: PhotoFile, photo: Photo) -> list[Detection]:
        regions = store[file.image_id]
        if regions.size != photo.shape[:2]:
            raise InputError(
                f"{file.path}: image is {photo.shape[1]} x {photo.shape[0]}, but its regions in {store.path} "
                f"are of an image of {regions.size[1]} x {regions.size[0]}"
            )
        names = store.metadata.class_names, store.metadata.attribute_names
        detections = stored_detections(regions, *names, attribute_threshold=config.attribute_threshold)
        kept = [d for d in detections if d.score >= config.threshold or not d.name]
        return kept[: config.limit]

    return detect


def _record(file: PhotoFile, photo: Photo, detections: list[Detection]) -> dict[str, Any]:
    return {
        "image_id": file.image_id,
        "file": str(file.path),
        "width": photo.shape[1],
        "height": photo.shape[0],
        "tags": [{"name": n, "score": round(score, 4)} for n, score in image_tags(detections).items()],
        "objects": [
            {
                "label": detection.label,
                "box": [round(v, 2) for v in detection.box],
                "class": detection.name,
                "score": round(detection.score, 4),
                "attributes": [{"name": n, "score": round(s, 4)} for n, s in detection.attributes],
            }
            for detection in detections
        ],
    }


def _caption(detection: Detection) -> str:
    return f"{detection.label} {detection.score:.2f}" if detection.name else ""
