"""Golden values of the synthetic scenes, on which the numbers of the quickstart and of the studies depend."""

import hashlib
import json
from typing import Any

import numpy as np
import pytest

from bua.data.scenes.draw import RGB, compose, paint, silhouette
from bua.data.scenes.world import CANVAS, KINDS, SceneObject
from bua.data.scenes.write import make_scene
from tests.helpers.parity import ROOT

GOLDEN = json.loads((ROOT / "tests" / "golden" / "scenes.json").read_text())


def texts(count: int) -> list[list[Any]]:
    """Return objects, captions and questions of scenes as plain values; every fourth has novel pairs."""
    scenes = [make_scene(n, seed=3, novel=n % 4 == 3, questions=6, folder=None) for n in range(count)]
    return [
        [
            [[*o.attributes, o.kind, *map(int, o.box or ())] for o in scene.objects],
            [[caption.text, caption.groundings(scene.objects)] for caption in scene.captions],
            [[question.text, question.annotation(), question.boxes] for question in scene.questions],
        ]
        for scene in scenes
    ]


def blocks(pixels: np.ndarray, side: int) -> list[Any]:
    """Return the means of square blocks of an image, shape (CANVAS / side, CANVAS / side, ...)."""
    shape = (CANVAS // side, side, CANVAS // side, side)
    return pixels.reshape(*shape, *pixels.shape[2:]).mean((1, 3)).tolist()


def test_the_first_scenes_have_golden_texts() -> None:
    """A change of these texts is a change of behavior: explain it in the commit that changes the file."""
    found = json.loads(json.dumps(texts(40)))
    assert [scene[1][0][0] for scene in found[:8]] == GOLDEN["captions"]
    assert [scene[2][0][0] for scene in found[:8]] == GOLDEN["questions"]
    assert hashlib.sha256(json.dumps(found).encode()).hexdigest() == GOLDEN["sha256"]


def test_there_is_a_golden_silhouette_of_every_kind() -> None:
    assert set(GOLDEN["silhouettes"]) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_silhouettes_are_golden(kind: str) -> None:
    """As above."""
    mask = silhouette(SceneObject(kind, "red", "large", "plain", (80, 80), 150, 20, True))
    np.testing.assert_allclose(blocks(mask, 16), GOLDEN["silhouettes"][kind], atol=0.006)


@pytest.mark.parametrize("seed", range(3))
def test_painted_scenes_are_golden(seed: int) -> None:
    """As above."""
    rng = np.random.default_rng(seed)
    image = np.asarray(paint(rng, *compose(rng, novel=False)), np.float64)
    np.testing.assert_allclose(blocks(image, 20), GOLDEN["images"][seed], atol=1)


def test_colors_are_golden() -> None:
    """As above."""
    assert {name: list(value) for name, value in RGB.items()} == GOLDEN["colors"]
