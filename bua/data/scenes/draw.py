"""Draw scenes with Pillow: silhouettes, shading, stripes, background and clutter.

A silhouette consists of polygons in the square from -1 to 1, y downwards, which are added to it or cut
from it in order.
"""

import math
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from bua.data.scenes.world import CANVAS, MIN_VISIBLE, SceneObject, sample_object

Point = tuple[float, float]
RGB = {
    "red": (205, 38, 38),
    "orange": (240, 135, 25),
    "yellow": (238, 214, 45),
    "green": (50, 150, 60),
    "blue": (45, 85, 200),
    "purple": (125, 50, 160),
    "pink": (244, 140, 185),
    "brown": (120, 75, 40),
}
_OVERSAMPLE = 3


def _circle(x: float, y: float, r: float) -> list[Point]:
    return _ellipse(x, y, r, r)


def _ellipse(x: float, y: float, rx: float, ry: float, start: float = 0, end: float = 360) -> list[Point]:
    angles = np.radians(np.linspace(start, end, 40))
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


def _rectangle(x1: float, y1: float, x2: float, y2: float) -> list[Point]:
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]


def _star() -> list[Point]:
    corners = []
    for n in range(10):
        radius, angle = (1.0, 0.42)[n % 2], math.pi * (n / 5 - 0.5)
        corners.append((radius * math.cos(angle), radius * math.sin(angle)))
    return corners


def _heart() -> list[Point]:
    angles = np.linspace(0, 2 * math.pi, 60)
    x = 16 * np.sin(angles) ** 3
    y = 13 * np.cos(angles) - 5 * np.cos(2 * angles) - 2 * np.cos(3 * angles) - np.cos(4 * angles)
    return [(float(a) / 17, float(-b) / 17) for a, b in zip(x, y, strict=True)]


#: Parts of the silhouette of each kind: whether the part is added or cut, and its outline.
SILHOUETTES: dict[str, list[tuple[bool, list[Point]]]] = {
    "ball": [(True, _circle(0, 0, 0.95))],
    "boat": [
        (True, [(-1, 0.35), (1, 0.35), (0.6, 0.9), (-0.6, 0.9)]),
        (True, _rectangle(-0.08, -0.95, 0.06, 0.4)),
        (True, [(0.12, -0.9), (0.85, 0.22), (0.12, 0.22)]),
        (True, [(-0.14, -0.7), (-0.14, 0.22), (-0.7, 0.22)]),
    ],
    "box": [(True, _rectangle(-0.85, -0.85, 0.85, 0.85))],
    "car": [
        (True, _rectangle(-1, -0.05, 1, 0.45)),
        (True, [(-0.6, 0), (-0.38, -0.5), (0.35, -0.5), (0.65, 0)]),
        (True, _circle(-0.55, 0.45, 0.26)),
        (True, _circle(0.55, 0.45, 0.26)),
        (False, [(-0.42, -0.06), (-0.28, -0.38), (-0.04, -0.38), (-0.04, -0.06)]),
        (False, [(0.08, -0.06), (0.08, -0.38), (0.28, -0.38), (0.45, -0.06)]),
    ],
    "cup": [
        (True, _circle(0.55, 0, 0.42)),
        (False, _circle(0.55, 0, 0.22)),
        (True, [(-0.8, -0.8), (0.55, -0.8), (0.4, 0.85), (-0.65, 0.85)]),
    ],
    "fish": [
        (True, _ellipse(-0.2, 0, 0.75, 0.5)),
        (True, [(0.4, 0), (1, -0.55), (1, 0.55)]),
        (True, [(-0.3, -0.4), (0.05, -0.8), (0.25, -0.3)]),
        (False, _circle(-0.6, -0.1, 0.1)),
    ],
    "flower": [
        *((True, _circle(0.58 * math.cos(a), 0.58 * math.sin(a), 0.38)) for a in np.arange(6) * math.pi / 3),
        (True, _circle(0, 0, 0.4)),
        (False, _circle(0, 0, 0.24)),
    ],
    "heart": [(True, _heart())],
    "house": [
        (True, _rectangle(-0.7, -0.15, 0.7, 0.9)),
        (True, [(-0.95, -0.1), (0, -0.95), (0.95, -0.1)]),
        (False, _rectangle(-0.18, 0.3, 0.22, 0.9)),
        (False, _rectangle(0.35, 0.05, 0.58, 0.3)),
    ],
    "key": [
        (True, _circle(-0.55, 0, 0.45)),
        (False, _circle(-0.55, 0, 0.2)),
        (True, _rectangle(-0.15, -0.14, 1, 0.14)),
        (True, _rectangle(0.45, 0.1, 0.6, 0.45)),
        (True, _rectangle(0.8, 0.1, 1, 0.5)),
    ],
    "moon": [(True, _circle(0, 0, 0.95)), (False, _circle(0.45, -0.1, 0.78))],
    "mushroom": [
        (True, [*_ellipse(0, 0.1, 0.95, 0.95, 180, 360)]),
        (True, [(-0.28, 0.05), (0.28, 0.05), (0.36, 0.9), (-0.36, 0.9)]),
    ],
    "star": [(True, _star())],
    "tree": [
        (True, [(0, -0.95), (0.55, -0.25), (-0.55, -0.25)]),
        (True, [(0, -0.55), (0.75, 0.45), (-0.75, 0.45)]),
        (True, _rectangle(-0.16, 0.4, 0.16, 0.95)),
    ],
}


def silhouette(scene_object: SceneObject) -> np.ndarray:
    """Return the fraction of each pixel that an object covers, shape (CANVAS, CANVAS), 0 to 1."""
    side = CANVAS * _OVERSAMPLE
    mask = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(mask)
    angle, radius = math.radians(scene_object.angle), scene_object.extent / 2 * _OVERSAMPLE
    cos, sin = math.cos(angle), math.sin(angle)
    for added, outline in SILHOUETTES[scene_object.kind]:
        points = []
        for x, y in outline:
            x = -x if scene_object.mirrored else x
            points.append(
                (
                    scene_object.center[0] * _OVERSAMPLE + radius * (x * cos + y * sin),
                    scene_object.center[1] * _OVERSAMPLE + radius * (y * cos - x * sin),
                )
            )
        draw.polygon(points, fill=255 if added else 0)
    small = mask.reduce(_OVERSAMPLE)
    return np.asarray(small, np.float32) / 255


def compose(rng: np.random.Generator, novel: bool) -> tuple[list[SceneObject], np.ndarray]:
    """Place 3 to 8 objects so that at least ``MIN_VISIBLE`` of each is visible.

    Args:
        rng: Source of randomness.
        novel: Whether to include held-out pairs of kind and color.

    Returns:
        Objects from back to front, with their visible boxes, and their silhouettes, shape (N, H, W).
    """
    count = int(rng.integers(3, 9))
    objects: list[SceneObject] = []
    masks: list[np.ndarray] = []
    attempts = 0
    while len(objects) < count and attempts < 60:
        attempts += 1
        candidate = sample_object(rng, novel=novel and (not objects or rng.random() < 0.3))
        mask = silhouette(candidate)
        if _visible_fractions([*masks, mask]).min() >= MIN_VISIBLE:
            objects.append(candidate)
            masks.append(mask)
    return _with_boxes(objects, masks), np.stack(masks)


def _visible_fractions(masks: list[np.ndarray]) -> np.ndarray:
    full = [max(float((mask > 0.5).sum()), 1.0) for mask in masks]
    return np.array([(v > 0.5).sum() / f for v, f in zip(_visible(masks), full, strict=True)])


def _visible(masks: list[np.ndarray]) -> list[np.ndarray]:
    """Return the part of each silhouette that is not covered by those in front of it."""
    uncovered, visible = np.ones_like(masks[0]), []
    for mask in reversed(masks):
        visible.append(mask * uncovered)
        uncovered = uncovered * (1 - mask)
    return visible[::-1]


def _with_boxes(objects: list[SceneObject], masks: list[np.ndarray]) -> list[SceneObject]:
    boxed = []
    fractions = _visible_fractions(masks)
    for scene_object, mask, fraction in zip(objects, _visible(masks), fractions, strict=True):
        rows, columns = (np.flatnonzero((mask > 0.5).any(axis)) for axis in (1, 0))
        box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
        boxed.append(replace(scene_object, box=box, visible=float(fraction)))
    return boxed


def paint(rng: np.random.Generator, objects: list[SceneObject], masks: np.ndarray) -> Image.Image:
    """Paint objects from back to front over a shaded and cluttered background."""
    canvas = _background(rng)
    y, x = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32)
    for scene_object, mask in zip(objects, masks, strict=True):
        color = np.array(RGB[scene_object.color], np.float32) + rng.uniform(-14, 14, 3).astype(np.float32)
        center_x, center_y = scene_object.center
        light = 1 - 0.35 * ((x - center_x) + (y - center_y)) / (2 * scene_object.extent)
        if scene_object.texture == "striped":
            period = max(5.0, scene_object.extent / 5)
            phase = (x + y * (1 if scene_object.mirrored else -1)) / period % 1
            light = light * np.where(phase < 0.45, 0.5, 1.1)
        surface = color * light[..., None]
        edge = np.asarray(
            Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.MinFilter(3)), np.float32
        )
        surface = surface * np.where(edge[..., None] / 255 > 0.5, 1.0, 0.55)
        canvas = canvas * (1 - mask[..., None]) + surface * mask[..., None]
    canvas += rng.normal(0, 5, canvas.shape)
    return Image.fromarray(canvas.clip(0, 255).astype(np.uint8))


def _background(rng: np.random.Generator) -> np.ndarray:
    """Return a gradient between two soft colors, with thin strokes and specks as clutter."""
    ends = rng.uniform(120, 235, (2, 1)) + rng.uniform(-22, 22, (2, 3))
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[0:CANVAS, 0:CANVAS] / CANVAS - 0.5
    blend = np.clip(0.5 + x * math.cos(angle) + y * math.sin(angle), 0, 1)[..., None]
    background = Image.fromarray((ends[0] * (1 - blend) + ends[1] * blend).astype(np.uint8))
    draw = ImageDraw.Draw(background)
    for _ in range(int(rng.integers(4, 14))):
        shade = tuple(int(v) for v in rng.uniform(70, 230, 3))
        start = rng.uniform(0, CANVAS, 2)
        if rng.random() < 0.5:
            end = start + rng.uniform(-40, 40, 2)
            draw.line([*map(float, start), *map(float, end)], fill=shade, width=int(rng.integers(1, 3)))
        else:
            r = rng.uniform(1, 4)
            draw.ellipse([start[0] - r, start[1] - r, start[0] + r, start[1] + r], fill=shade)
    return np.asarray(background, np.float64)
