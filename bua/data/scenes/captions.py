"""Generate varied captions from a grammar, together with the objects that every noun refers to."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bua.data.scenes.world import SceneObject, relation

#: Nouns of a kind, the most frequent first.
NOUNS: dict[str, tuple[str, ...]] = {
    "ball": ("ball", "sphere"),
    "boat": ("boat", "ship"),
    "box": ("box", "crate"),
    "car": ("car",),
    "cup": ("cup", "mug"),
    "fish": ("fish",),
    "flower": ("flower",),
    "heart": ("heart",),
    "house": ("house", "home"),
    "key": ("key",),
    "moon": ("moon", "crescent"),
    "mushroom": ("mushroom",),
    "star": ("star",),
    "tree": ("tree",),
}
PLURALS = {"box": "boxes", "fish": "fish"}
COUNTS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight"}
SIZE_WORDS = {"small": ("small", "little", "tiny"), "medium": ("",), "large": ("large", "big")}
RELATIONS = {
    "left of": ("to the left of", "left of"),
    "right of": ("to the right of", "right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
    "in front of": ("in front of", "partly covering"),
    "behind": ("behind", "partly hidden by"),
}


def plural(noun: str) -> str:
    """Return the plural of a noun of the grammar."""
    return PLURALS.get(noun, noun + ("es" if noun.endswith("x") else "s"))


@dataclass
class Caption:
    """A caption.

    Attributes:
        words: Words and commas.
        referents: Indices of the objects that a noun refers to, by the position of the noun in ``words``.
    """

    words: list[str] = field(default_factory=list)
    referents: dict[int, list[int]] = field(default_factory=dict)

    def append(self, text: str, referents: list[int] | None = None) -> None:
        """Append words; ``referents`` are the objects that the last of them refers to."""
        self.words += text.split()
        if referents:
            self.referents[len(self.words) - 1] = referents

    @property
    def text(self) -> str:
        """The caption as a sentence."""
        sentence = " ".join(self.words).replace(" ,", ",")
        return sentence[0].upper() + sentence[1:] + "."

    def groundings(self, objects: list[SceneObject]) -> list[dict[str, Any]]:
        """Return the position of every noun, not counting punctuation, and the boxes of its objects."""
        positions = [n for n, word in enumerate(self.words) if word != ","]
        return [
            {
                "position": positions.index(position),
                "word": self.words[position],
                "boxes": [list(objects[n].box) for n in indices],
            }
            for position, indices in self.referents.items()
        ]


class CaptionBuilder:
    """Builds a caption of a scene.

    Args:
        rng: Source of randomness.
        objects: Objects of the scene.
    """

    def __init__(self, rng: np.random.Generator, objects: list[SceneObject]) -> None:
        self.rng, self.objects, self.caption = rng, objects, Caption()

    def choose(self, options: tuple[str, ...]) -> str:
        """Choose a synonym; the first is three times as likely as each of the others."""
        weights = np.array([3.0] + [1.0] * (len(options) - 1))
        return options[int(self.rng.choice(len(options), p=weights / weights.sum()))]

    def flip(self, probability: float) -> bool:
        """Return ``True`` with the given probability."""
        return bool(self.rng.random() < probability)

    def adjectives(self, scene_object: SceneObject) -> str:
        """Choose adjectives of an object: usually its color, sometimes its size and texture."""
        words = [
            self.choose(SIZE_WORDS[scene_object.size]) if self.flip(0.45) else "",
            "striped" if scene_object.texture == "striped" and self.flip(0.55) else "",
            scene_object.color if self.flip(0.9) else "",
        ]
        return " ".join(word for word in words if word)

    def mention(self, index: int, definite: bool = False) -> None:
        """Append a noun phrase for one object."""
        scene_object = self.objects[index]
        words = self.adjectives(scene_object)
        noun = self.choose(NOUNS[scene_object.kind])
        article = "the" if definite else "an" if (words or noun)[0] in "aeiou" else "a"
        self.caption.append(f"{article} {words} {noun}", [index])

    def relate(self, a: int, b: int) -> str:
        """Choose a preposition for the position of object ``a`` relative to object ``b``."""
        return self.choose(RELATIONS[relation(self.objects[a], self.objects[b], in_front=a > b)])


def salience(objects: list[SceneObject]) -> np.ndarray:
    """Return the probability of mentioning each object; large, visible and central ones are favored."""
    offsets = np.array([[*o.box_center] for o in objects]) / 160 - 0.5
    size = np.array([o.area * o.visible for o in objects]) ** 0.7
    weights: np.ndarray = size * np.exp(-2 * (offsets**2).sum(1))
    probabilities: np.ndarray = weights / weights.sum()
    return probabilities


def generate_caption(rng: np.random.Generator, objects: list[SceneObject]) -> Caption:
    """Generate a caption of a scene."""
    builder = CaptionBuilder(rng, objects)
    append = builder.caption.append
    probabilities = salience(objects) ** 2 / (salience(objects) ** 2).sum()
    order = [int(n) for n in rng.choice(len(objects), len(objects), replace=False, p=probabilities)]
    opening = rng.random()
    if opening < 0.12 and _has_same_kind(objects, order[0]):
        _describe_group(builder, order)
        return builder.caption
    if opening < 0.30:
        append(builder.choose(("there is", "we see", "the picture shows", "this is")))
    first, second = order[0], order[1]
    builder.mention(first)
    structure = rng.random()
    if structure < 0.62:
        append(builder.relate(first, second))
        builder.mention(second)
        if len(order) > 2 and builder.flip(0.25):
            append("and")
            builder.mention(order[2])
    elif structure < 0.80 and len(order) > 2:
        append(",")
        builder.mention(second)
        append("and")
        builder.mention(order[2])
    elif structure < 0.92:
        append("and")
        builder.mention(second)
    else:
        append("with")
        builder.mention(second)
        append(
            {
                "left of": "on its left",
                "right of": "on its right",
                "above": "above it",
                "below": "below it",
                "in front of": "in front of it",
                "behind": "behind it",
            }[relation(objects[second], objects[first], in_front=second > first)]
        )
    return builder.caption


def _has_same_kind(objects: list[SceneObject], index: int) -> bool:
    return sum(o.kind == objects[index].kind for o in objects) > 1


def _describe_group(builder: CaptionBuilder, order: list[int]) -> None:
    """Append the number of objects of the first kind, and one other object."""
    objects, append = builder.objects, builder.caption.append
    kind = objects[order[0]].kind
    group = [n for n, o in enumerate(objects) if o.kind == kind]
    colors = {objects[n].color for n in group}
    color = colors.pop() if len(colors) == 1 else ""
    append(f"{COUNTS[len(group)]} {color} {plural(builder.choose(NOUNS[kind]))}", group)
    other = next((n for n in order if n not in group), None)
    if other is not None:
        append("and")
        builder.mention(other)
