"""``bua detect``: detect the objects in images, as JSON and as pictures."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bua.cli.main import NOT_NEGATIVE, POSITIVE
from bua.detectors.detections import (
    Detection,
    DetectionOptions,
    detect_objects,
    image_tags,
    stored_detections,
)
from bua.detectors.detector import FrozenDetector
from bua.detectors.photo import Photo, PhotoFile, find_photos, map_photos
from bua.engine.instantiate import instantiate
from bua.errors import InputError
from bua.io.files import write_text
from bua.store.reader import FeatureStore
from bua.visualize.labels import LabelledBox, draw_boxes

log = logging.getLogger(__name__)

#: Function from an image file and its pixels to the objects in the image.
Detect = Callable[[PhotoFile, Photo], list[Detection]]


@dataclass
class Options:
    """Keys of the command, described in conf/detect.yaml."""

    images: str
    root: str | None
    out: str
    features: str | None
    weights: str | None
    classes: str | None
    attributes: str | None
    score_threshold: float = field(metadata=NOT_NEGATIVE)
    nms_iou: float = field(metadata=NOT_NEGATIVE)
    cross_class_iou: float = field(metadata=NOT_NEGATIVE)
    attribute_threshold: float = field(metadata=NOT_NEGATIVE)
    max_attributes: int = field(metadata=NOT_NEGATIVE)
    max_objects: int = field(metadata=POSITIVE)
    pictures: bool
    max_drawn: int = field(metadata=NOT_NEGATIVE)
    device: str
    precision: str
    channels_last: bool
    detector: Any


def main(options: Options) -> None:
    """Detect the objects in every image; write one JSON file for all images and a picture of each."""
    out, photos = Path(options.out), find_photos(options.images, options.root)
    features = options.features
    detect = _from_store(options, features) if features is not None else _from_detector(options)
    pictures = out / "pictures"
    (pictures if options.pictures else out).mkdir(parents=True, exist_ok=True)
    numbers = {file.image_id: number for number, file in enumerate(photos)}
    records = []
    for file, photo, detections in map_photos(detect, photos, "bua detect"):
        records.append(_record(file, photo, detections))
        if options.pictures:
            labels = [LabelledBox(d.box, _caption(d), d.name) for d in detections[: options.max_drawn]]
            draw_boxes(photo, labels).save(
                pictures / f"{numbers[file.image_id]:06d}_{file.path.stem}.jpg", quality=90
            )
    write_text(out / "detections.json", json.dumps(records, indent=1, ensure_ascii=False) + "\n")
    num_objects = sum(len(record["objects"]) for record in records)
    log.info(
        f"{out / 'detections.json'}: {len(records)} images, {num_objects} objects, "
        f"{len(photos) - len(records)} unreadable"
    )


def _from_detector(options: Options) -> Detect:
    detector = instantiate(options.detector)
    if not isinstance(detector, FrozenDetector):
        raise InputError(
            f"detector={detector.name} does not detect objects; use one such as scenes_fpn, vg_c4 or fpn_r50"
        )
    if not detector.class_names:
        raise InputError(
            f"{options.weights}: has no class names; pass classes=FILE and attributes=FILE with one name per "
            "line (objects_vocab.txt and attributes_vocab.txt of the release)"
        )
    reported = DetectionOptions(
        score_threshold=options.score_threshold,
        nms_iou=options.nms_iou,
        cross_class_iou=options.cross_class_iou,
        attribute_threshold=options.attribute_threshold,
        max_attributes=options.max_attributes,
        max_objects=options.max_objects,
    )

    def detect(file: PhotoFile, photo: Photo) -> list[Detection]:
        proposals = detector.propose([detector.resize.prepare(photo)])[0]
        return detect_objects(proposals, detector.class_names, detector.attribute_names, reported)

    return detect


def _from_store(options: Options, features: str) -> Detect:
    store = FeatureStore(features)

    def detect(file: PhotoFile, photo: Photo) -> list[Detection]:
        regions = store[file.image_id]
        if regions.size != photo.shape[:2]:
            raise InputError(
                f"{file.path}: image is {photo.shape[1]} x {photo.shape[0]}, but its regions in {store.path} "
                f"are of an image of {regions.size[1]} x {regions.size[0]}"
            )
        names = store.metadata.class_names, store.metadata.attribute_names
        detections = stored_detections(regions, *names, attribute_threshold=options.attribute_threshold)
        kept = [d for d in detections if d.score >= options.score_threshold or not d.name]
        return kept[: options.max_objects]

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
