"""``bua detect``: detect the objects in images, as JSON and drawn into the images."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bua.cli.findings import warn_of_photographs
from bua.cli.options import NOT_NEGATIVE, POSITIVE
from bua.cli.outputs import write_json
from bua.detectors.detections import (
    Detection,
    DetectionOptions,
    detect_from_store,
    detect_with,
    detection_record,
)
from bua.detectors.detector import Detector
from bua.detectors.photo import map_photos
from bua.detectors.photo_files import find_photos
from bua.engine.instantiate import instantiate
from bua.io.write import save_image
from bua.store.reader import FeatureStore
from bua.visualize.labels import LabeledBox, draw_boxes


@dataclass
class Options:
    """Keys of the command, described in conf/detect.yaml."""

    images: str | list[str]
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
    draw: bool
    max_drawn: int = field(metadata=NOT_NEGATIVE)
    stretch_gray: bool
    device: str
    precision: str
    channels_last: bool
    detector: Any


def main(options: Options) -> None:
    """Detect objects; write one JSON file for all images, and a copy of each image with boxes."""
    out, photos = Path(options.out), find_photos(options.images, options.root)
    reported = DetectionOptions(
        score_threshold=options.score_threshold,
        nms_iou=options.nms_iou,
        cross_class_iou=options.cross_class_iou,
        attribute_threshold=options.attribute_threshold,
        max_attributes=options.max_attributes,
        max_objects=options.max_objects,
    )
    if options.features is not None:
        detect = detect_from_store(FeatureStore(options.features), reported)
    else:
        detect = detect_with(instantiate(options.detector, kind=Detector), reported)
        if options.weights is None:
            warn_of_photographs(options.detector.get("name", ""), photos, "bua detect")
    drawn = out / "images"
    (drawn if options.draw else out).mkdir(parents=True, exist_ok=True)
    for stale in drawn.glob("[0-9][0-9][0-9][0-9][0-9][0-9]_*.jpg"):  # of an earlier call
        stale.unlink()
    numbers = {file.image_id: number for number, file in enumerate(photos)}
    records = []
    for file, photo, detections in map_photos(
        detect, photos, "bua detect", stretch_gray=options.stretch_gray
    ):
        records.append(detection_record(file, photo, detections))
        if options.draw:
            labels = [LabeledBox(d.box, _caption(d), d.name) for d in detections[: options.max_drawn]]
            name = f"{numbers[file.image_id]:06d}_{file.path.stem}.jpg"
            save_image(draw_boxes(photo, labels), drawn / name, quality=90)
    num_objects = sum(len(record["objects"]) for record in records)
    summary = f"{len(records)} images, {num_objects} objects, {len(photos) - len(records)} unreadable"
    write_json(out / "detections.json", records, summary)


def _caption(detection: Detection) -> str:
    return f"{detection.label} {detection.score:.2f}" if detection.name else ""
