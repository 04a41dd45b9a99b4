"""The world of the synthetic scenes: what exists, where it may stand, what is hidden by what.

Coordinates are pixels of a square picture, x to the right and y downwards; boxes are x1 y1 x2 y2.
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

#: Full height and width in pixels of a thing of each size, lowest and highest.
EXTENT = {"small": (22, 28), "medium": (36, 46), "large": (58, 72)}
CANVAS = 160
MIN_VISIBLE = 0.5

#: Pairs of kind and colour that never appear outside the split ``novel``: one colour of each kind.
NOVEL_PAIRS = tuple((kind, COLORS[(3 * n + 1) % len(COLORS)]) for n, kind in enumerate(KINDS))


@dataclass(frozen=True)
class SceneObject:
    """One thing of a scene; a later thing of a scene stands in front of an earlier one."""

    kind: str
    color: str
    size: str
    texture: str
    center: tuple[float, float]
    extent: float
    angle: float  # degrees, counter-clockwise
    mirrored: bool
    #: Box of what can be seen of it and the share of its silhouette that can be seen.
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    visible: float = 1.0

    @property
    def attributes(self) -> tuple[str, str, str]:
        """Colour, size and texture."""
        return self.color, self.size, self.texture

    @property
    def area(self) -> float:
        """Area of the visible box in square pixels."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])

    @property
    def middle(self) -> tuple[float, float]:
        """Centre of the visible box."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


def overlap(a: SceneObject, b: SceneObject) -> float:
    """Intersection of the visible boxes over the smaller of the two, 0 to 1."""
    width = min(a.box[2], b.box[2]) - max(a.box[0], b.box[0])
    height = min(a.box[3], b.box[3]) - max(a.box[1], b.box[1])
    return max(0.0, width) * max(0.0, height) / min(a.area, b.area)


def relation(a: SceneObject, b: SceneObject, in_front: bool) -> str:
    """Name the clearest relation of ``a`` to ``b``; ``in_front`` says that ``a`` is drawn later."""
    if overlap(a, b) > 0.3:
        return "in front of" if in_front else "behind"
    dx, dy = a.middle[0] - b.middle[0], a.middle[1] - b.middle[1]
    if abs(dx) >= abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


def sample_thing(rng: np.random.Generator, novel: bool) -> SceneObject:
    """Draw one thing anywhere; ``novel`` asks for a pair of kind and colour held out of training."""
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
