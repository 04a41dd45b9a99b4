"""A grammar of captions with many ways to say what is seen, and what every noun points at."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bua.data.scenes.world import SceneObject, relation

#: Words for a kind, the first the more frequent one.
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
    """Return the plural of a noun of this world."""
    return PLURALS.get(noun, noun + ("es" if noun.endswith("x") else "s"))


@dataclass
class Caption:
    """The words of a caption and, by position, the things that a word names."""

    words: list[str] = field(default_factory=list)
    named: dict[int, list[int]] = field(default_factory=dict)

    def say(self, text: str, things: list[int] | None = None) -> None:
        """Add words; ``things`` are what the last of them names."""
        self.words += text.split()
        if things:
            self.named[len(self.words) - 1] = things

    @property
    def text(self) -> str:
        """The caption as an annotator would have typed it."""
        sentence = " ".join(self.words).replace(" ,", ",")
        return sentence[0].upper() + sentence[1:] + "."

    def groundings(self, things: list[SceneObject]) -> list[dict[str, Any]]:
        """Return, for each noun, its position among the words without punctuation and its boxes."""
        spoken = [n for n, word in enumerate(self.words) if word != ","]
        return [
            {
                "position": spoken.index(at),
                "word": self.words[at],
                "boxes": [list(things[n].box) for n in named],
            }
            for at, named in self.named.items()
        ]


class Speaker:
    """Builds one caption of one scene."""

    def __init__(self, rng: np.random.Generator, things: list[SceneObject]) -> None:
        self.rng, self.things, self.caption = rng, things, Caption()

    def pick(self, options: tuple[str, ...]) -> str:
        """Choose among ways to say the same; the first three times as often as each other one."""
        weights = np.array([3.0] + [1.0] * (len(options) - 1))
        return options[int(self.rng.choice(len(options), p=weights / weights.sum()))]

    def chance(self, share: float) -> bool:
        """Be true in ``share`` of all cases."""
        return bool(self.rng.random() < share)

    def adjectives(self, thing: SceneObject) -> str:
        """Choose what to say of a thing besides its kind, mostly its colour."""
        words = [
            self.pick(SIZE_WORDS[thing.size]) if self.chance(0.45) else "",
            "striped" if thing.texture == "striped" and self.chance(0.55) else "",
            thing.color if self.chance(0.9) else "",
        ]
        return " ".join(word for word in words if word)

    def mention(self, index: int, definite: bool = False) -> None:
        """Say a noun phrase for one thing."""
        thing = self.things[index]
        words = self.adjectives(thing)
        noun = self.pick(NOUNS[thing.kind])
        article = "the" if definite else "an" if (words or noun)[0] in "aeiou" else "a"
        self.caption.say(f"{article} {words} {noun}", [index])

    def relate(self, a: int, b: int) -> str:
        """Choose words for where ``a`` is, seen from ``b``."""
        return self.pick(RELATIONS[relation(self.things[a], self.things[b], in_front=a > b)])


def salience(things: list[SceneObject]) -> np.ndarray:
    """How likely each thing is to be spoken of: large, whole and near the middle first."""
    middle = np.array([[*thing.middle] for thing in things]) / 160 - 0.5
    size = np.array([thing.area * thing.visible for thing in things]) ** 0.7
    weights: np.ndarray = size * np.exp(-2 * (middle**2).sum(1))
    shares: np.ndarray = weights / weights.sum()
    return shares


def describe(rng: np.random.Generator, things: list[SceneObject]) -> Caption:
    """Say one caption of a scene."""
    speaker = Speaker(rng, things)
    say = speaker.caption.say
    order = [
        int(n)
        for n in rng.choice(
            len(things), len(things), replace=False, p=salience(things) ** 2 / (salience(things) ** 2).sum()
        )
    ]
    opening = rng.random()
    if opening < 0.12 and _same_kind(things, order[0]):
        _say_group(speaker, order)
        return speaker.caption
    if opening < 0.30:
        say(speaker.pick(("there is", "we see", "the picture shows", "this is")))
    first, second = order[0], order[1]
    speaker.mention(first)
    shape = rng.random()
    if shape < 0.62:
        say(speaker.relate(first, second))
        speaker.mention(second)
        if len(order) > 2 and speaker.chance(0.25):
            say("and")
            speaker.mention(order[2])
    elif shape < 0.80 and len(order) > 2:
        say(",")
        speaker.mention(second)
        say("and")
        speaker.mention(order[2])
    elif shape < 0.92:
        say("and")
        speaker.mention(second)
    else:
        say("with")
        speaker.mention(second)
        say(
            {
                "left of": "on its left",
                "right of": "on its right",
                "above": "above it",
                "below": "below it",
                "in front of": "in front of it",
                "behind": "behind it",
            }[relation(things[second], things[first], in_front=second > first)]
        )
    return speaker.caption


def _same_kind(things: list[SceneObject], index: int) -> bool:
    return sum(thing.kind == things[index].kind for thing in things) > 1


def _say_group(speaker: Speaker, order: list[int]) -> None:
    """Say how many there are of a kind, and one thing more."""
    things, say = speaker.things, speaker.caption.say
    kind = things[order[0]].kind
    group = [n for n, thing in enumerate(things) if thing.kind == kind]
    colors = {things[n].color for n in group}
    color = colors.pop() if len(colors) == 1 else ""
    say(f"{COUNTS[len(group)]} {color} {plural(speaker.pick(NOUNS[kind]))}", group)
    other = next((n for n in order if n not in group), None)
    if other is not None:
        say("and")
        speaker.mention(other)
