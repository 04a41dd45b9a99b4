"""What is in a photograph, in words: boxes with class, attributes and scores, and tags of the whole."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bua.detectors.boxes import BoxConvention
from bua.detectors.proposals import Detections, Proposals, detections
from bua.structures.regions import Regions


@dataclass(frozen=True)
class Detection:
    """A named box.

    Attributes:
        box: x1 y1 x2 y2 in pixels of the photograph.
        name: of its class.
        score: probability of the class.
        attributes: names and probabilities, the most probable first.
    """

    box: tuple[float, float, float, float]
    name: str
    score: float
    attributes: tuple[tuple[str, float], ...]

    @property
    def label(self) -> str:
        """Attributes and class as one would say them: red wooden chair."""
        return " ".join([*(name for name, _ in self.attributes), self.name])


def detect_objects(
    proposals: Proposals,
    classes: Sequence[str],
    attributes: Sequence[str],
    *,
    threshold: float,
    nms_iou: float,
    same_iou: float,
    attribute_threshold: float,
    most_attributes: int,
    limit: int,
) -> list[Detection]:
    """Return the things that a detector sees in one image, best first, with regressed boxes.

    Args:
        proposals: of the image.
        classes: names.
        attributes: names; empty where the detector knows none.
        threshold: no thing below this probability.
        nms_iou: overlap at which the worse of two boxes of one class goes.
        same_iou: overlap at which two boxes of different classes are one thing, named by the better.
        attribute_threshold: no attribute below this probability.
        most_attributes: of one thing.
        limit: things.
    """
    found = detections(proposals, threshold=threshold, nms_iou=nms_iou, limit=10 * limit)
    kept = BoxConvention.MODERN.nms(found.boxes, found.scores, same_iou)[:limit]
    found = Detections(*(part[kept] for part in vars(found).values()))
    return [
        Detection(
            (x1, y1, x2, y2),
            classes[int(found.labels[n]) - 1],
            float(found.scores[n]),
            _attributes(proposals, int(found.index[n]), attributes, attribute_threshold, most_attributes),
        )
        for n, (x1, y1, x2, y2) in enumerate(found.boxes.tolist())
    ]


def _attributes(
    proposals: Proposals, index: int, names: Sequence[str], threshold: float, most: int
) -> tuple[tuple[str, float], ...]:
    if proposals.attributes is None or not names:
        return ()
    seen: Tensor = proposals.attributes[index, 1:]
    values, order = torch.sort(seen, descending=True, stable=True)
    pairs = zip(order[:most].tolist(), values[:most].tolist(), strict=True)
    return tuple((names[n], value) for n, value in pairs if value >= threshold)


def stored_detections(
    regions: Regions, classes: Sequence[str], attributes: Sequence[str], *, attribute_threshold: float
) -> list[Detection]:
    """Return the regions of a store as things, most probable first; unnamed where it has no names."""
    things = []
    for n, (x1, y1, x2, y2) in enumerate(regions.boxes.tolist()):
        name = classes[regions.class_id[n]] if regions.class_id is not None and classes else ""
        score = float(regions.class_score[n]) if regions.class_score is not None else 0.0
        said: tuple[tuple[str, float], ...] = ()
        if regions.attribute_id is not None and attributes:
            known = float(regions.attribute_score[n]) if regions.attribute_score is not None else 0.0
            said = ((attributes[regions.attribute_id[n]], known),) if known >= attribute_threshold else ()
        things.append(Detection((x1, y1, x2, y2), name, score, said))
    return sorted(things, key=lambda thing: -thing.score)


def tags(things: Sequence[Detection]) -> dict[str, float]:
    """Return the names of classes in an image, each with its best score, best first."""
    best: dict[str, float] = {}
    for thing in things:
        if thing.name:
            best[thing.name] = max(best.get(thing.name, 0.0), thing.score)
    return dict(sorted(best.items(), key=lambda item: -item[1]))
