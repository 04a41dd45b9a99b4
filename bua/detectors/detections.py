"""Detected objects by name: boxes with class, attributes and scores, and tags for a whole image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bua.detectors.boxes import BoxConvention
from bua.detectors.detector import Detector, FrozenDetector
from bua.detectors.photo import Photo
from bua.detectors.photo_files import PhotoFile
from bua.detectors.selection import Detections, Proposals, postprocess_detections
from bua.errors import InputError
from bua.store.reader import FeatureStore
from bua.structures.regions import Regions


@dataclass(frozen=True, kw_only=True)
class DetectionOptions:
    """Thresholds and limits for the objects that are reported.

    Attributes:
        score_threshold: Minimum class probability of an object.
        nms_iou: Overlap at which the worse of two boxes of one class is dropped.
        cross_class_iou: Overlap above which boxes of different classes are one object, named by the better.
        attribute_threshold: Minimum probability of an attribute.
        max_attributes: Maximum number of attributes of an object.
        max_objects: Maximum number of objects of an image.
    """

    score_threshold: float
    nms_iou: float
    cross_class_iou: float
    attribute_threshold: float
    max_attributes: int
    max_objects: int


@dataclass(frozen=True)
class Detection:
    """A detected object.

    Attributes:
        box: x1 y1 x2 y2 in pixels of the original image.
        name: Name of its class; empty if unknown.
        score: Probability of its class.
        attributes: Names and probabilities of its attributes, the most probable first.
    """

    box: tuple[float, float, float, float]
    name: str
    score: float
    attributes: tuple[tuple[str, float], ...]

    @property
    def label(self) -> str:
        """Attributes and class as a phrase, such as "red wooden chair"."""
        return " ".join([*(name for name, _ in self.attributes), self.name])


def detect_objects(
    proposals: Proposals, classes: Sequence[str], attributes: Sequence[str], options: DetectionOptions
) -> list[Detection]:
    """Return the objects that a detector finds in one image, best first, with regressed boxes.

    Args:
        proposals: Proposals of the image.
        classes: Names of the classes, without background.
        attributes: Names of the attributes, without "no attribute"; empty if the detector has none.
        options: Thresholds and limits.
    """
    found = postprocess_detections(
        proposals,
        score_threshold=options.score_threshold,
        nms_iou=options.nms_iou,
        max_detections=10 * options.max_objects,
    )
    kept = BoxConvention.MODERN.nms(found.boxes, found.scores, options.cross_class_iou)
    kept = kept[: options.max_objects]
    found = Detections(*(column[kept] for column in vars(found).values()))
    return [
        Detection(
            (x1, y1, x2, y2),
            classes[int(found.labels[n]) - 1],
            float(found.scores[n]),
            _attributes(proposals, int(found.index[n]), attributes, options),
        )
        for n, (x1, y1, x2, y2) in enumerate(found.boxes.tolist())
    ]


def _attributes(
    proposals: Proposals, index: int, names: Sequence[str], options: DetectionOptions
) -> tuple[tuple[str, float], ...]:
    if proposals.attributes is None or not names:
        return ()
    probabilities: Tensor = proposals.attributes[index, 1:]
    values, order = torch.sort(probabilities, descending=True, stable=True)
    count = options.max_attributes
    pairs = zip(order[:count].tolist(), values[:count].tolist(), strict=True)
    return tuple((names[n], value) for n, value in pairs if value >= options.attribute_threshold)


def stored_detections(
    regions: Regions, classes: Sequence[str], attributes: Sequence[str], *, attribute_threshold: float
) -> list[Detection]:
    """Return the regions of a store as detections, the most probable first.

    Args:
        regions: Regions of one image.
        classes: Class names of the store; without them the detections have no name.
        attributes: Attribute names of the store.
        attribute_threshold: Minimum probability of an attribute.
    """
    detections = []
    for n, (x1, y1, x2, y2) in enumerate(regions.boxes.tolist()):
        name = classes[regions.class_id[n]] if regions.class_id is not None and classes else ""
        score = float(regions.class_score[n]) if regions.class_score is not None else 0.0
        pairs: tuple[tuple[str, float], ...] = ()
        if regions.attribute_id is not None and attributes:
            probability = float(regions.attribute_score[n]) if regions.attribute_score is not None else 0.0
            if probability >= attribute_threshold:
                pairs = ((attributes[regions.attribute_id[n]], probability),)
        detections.append(Detection((x1, y1, x2, y2), name, score, pairs))
    return sorted(detections, key=lambda detection: -detection.score)


def image_tags(detections: Sequence[Detection]) -> dict[str, float]:
    """Return the names of the classes found in an image, each with its best score, best first."""
    best: dict[str, float] = {}
    for detection in detections:
        if detection.name:
            best[detection.name] = max(best.get(detection.name, 0.0), detection.score)
    return dict(sorted(best.items(), key=lambda item: -item[1]))


#: Function from an image file and its pixels to the objects in the image.
Detect = Callable[[PhotoFile, Photo], list[Detection]]


def detect_with(detector: Detector, options: DetectionOptions) -> Detect:
    """Return the function that finds objects with a detector.

    Raises:
        InputError: If the detector does not detect objects, or does not know the names of its classes.
    """
    if not isinstance(detector, FrozenDetector):
        raise InputError(
            f"detector={detector.name} does not detect objects; use one such as scenes_fpn, vg_c4 or fpn_r50"
        )
    if not detector.class_names:
        raise InputError(
            f"detector={detector.name} has no class names; pass classes=FILE and attributes=FILE with one "
            "name per line (objects_vocab.txt and attributes_vocab.txt of the release)"
        )

    def detect(file: PhotoFile, photo: Photo) -> list[Detection]:
        proposals = detector.propose([detector.resize.prepare(photo)])[0]
        return detect_objects(proposals, detector.class_names, detector.attribute_names, options)

    return detect


def detect_from_store(store: FeatureStore, options: DetectionOptions) -> Detect:
    """Return the function that looks up the regions of an image in a feature store as objects.

    It raises ``InputError`` if the store lacks an image, or has regions of an image of another size.
    """

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


def detection_record(file: PhotoFile, photo: Photo, detections: Sequence[Detection]) -> dict[str, Any]:
    """Return the objects of an image as plain values, with the tags of the whole image."""
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
