"""The world of the synthetic scenes: kinds, colors and sizes of objects, and their spatial relations.

Coordinates are pixels of a square image, x to the right and y downwards; boxes are x1 y1 x2 y2.
"""

from dataclasses import dataclass

import numpy as np

KINDS = (
    "ball",
    "boat",
    "box",
    "car",
    "cup",
    "fish",
    "flower",
    "heart",
    "house",
    "key",
    "moon",
    "mushroom",
    "star",
    "tree",
)
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
SIZES = ("small", "medium", "large")
TEXTURES = ("plain", "striped")
ATTRIBUTES = COLORS + SIZES + TEXTURES

#: Minimum and maximum height and width in pixels of an object of each size.
EXTENT = {"small": (22, 28), "medium": (36, 46), "large": (58, 72)}
CANVAS = 160
#: Minimum visible fraction of an object.
MIN_VISIBLE = 0.5

#: Pairs of kind and color, one of each kind, that appear only in the split ``novel``.
NOVEL_PAIRS = tuple((kind, COLORS[(3 * n + 1) % len(COLORS)]) for n, kind in enumerate(KINDS))


@dataclass(frozen=True)
class SceneObject:
    """An object of a scene; later objects of a scene are in front of earlier ones.

    Attributes:
        kind: One of ``KINDS``.
        color: One of ``COLORS``.
        size: One of ``SIZES``.
        texture: One of ``TEXTURES``.
        center: Center of the silhouette in pixels.
        extent: Height and width before rotation in pixels.
        angle: Rotation in degrees, counter-clockwise.
        mirrored: Whether the silhouette is flipped horizontally.
        box: Box of the visible part.
        visible: Visible fraction of the silhouette, 0 to 1.
    """

    kind: str
    color: str
    size: str
    texture: str
    center: tuple[float, float]
    extent: float
    angle: float
    mirrored: bool
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    visible: float = 1.0

    @property
    def attributes(self) -> tuple[str, str, str]:
        """Color, size and texture."""
        return self.color, self.size, self.texture

    @property
    def area(self) -> float:
        """Area of the visible box in square pixels."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])

    @property
    def box_center(self) -> tuple[float, float]:
        """Center of the visible box."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


def overlap(a: SceneObject, b: SceneObject) -> float:
    """Return the intersection of the visible boxes divided by the smaller area, 0 to 1."""
    width = min(a.box[2], b.box[2]) - max(a.box[0], b.box[0])
    height = min(a.box[3], b.box[3]) - max(a.box[1], b.box[1])
    return max(0.0, width) * max(0.0, height) / min(a.area, b.area)


def relation(a: SceneObject, b: SceneObject, in_front: bool) -> str:
    """Return the clearest relation of ``a`` to ``b``.

    Args:
        a: First object.
        b: Second object.
        in_front: Whether ``a`` is in front of ``b``, should they overlap.

    Returns:
        "left of", "right of", "above", "below", "in front of" or "behind".
    """
    if overlap(a, b) > 0.3:
        return "in front of" if in_front else "behind"
    dx, dy = a.box_center[0] - b.box_center[0], a.box_center[1] - b.box_center[1]
    if abs(dx) >= abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


def sample_object(rng: np.random.Generator, novel: bool) -> SceneObject:
    """Sample an object anywhere in the image; ``novel`` selects a held-out pair of kind and color."""
    if novel:
        kind, color = NOVEL_PAIRS[rng.integers(len(NOVEL_PAIRS))]
    else:
        kind, color = _familiar_pair(rng)
    size = SIZES[rng.integers(len(SIZES))]
    extent = float(rng.uniform(*EXTENT[size]))
    margin = extent * 0.4
    return SceneObject(
        kind=kind,
        color=color,
        size=size,
        texture=TEXTURES[int(rng.random() < 0.4)],
        center=(
            float(rng.uniform(margin, CANVAS - margin)),
            float(rng.uniform(margin, CANVAS - margin)),
        ),
        extent=extent,
        angle=float(rng.uniform(-18, 18)),
        mirrored=bool(rng.random() < 0.5),
    )


def _familiar_pair(rng: np.random.Generator) -> tuple[str, str]:
    while True:
        pair = KINDS[rng.integers(len(KINDS))], COLORS[rng.integers(len(COLORS))]
        if pair not in NOVEL_PAIRS:
            return pair
