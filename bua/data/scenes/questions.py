"""Questions about a scene, with ten answers each from annotators who are mostly right."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bua.data.scenes.captions import NOUNS, plural
from bua.data.scenes.world import CANVAS, COLORS, KINDS, SIZES, SceneObject, relation

ANNOTATORS = 10


@dataclass(frozen=True)
class Question:
    """One question as VQA v2 has it."""

    text: str
    prefix: str  # VQA's question_type
    kind: str  # yes/no, number, other
    answers: tuple[str, ...]
    confidences: tuple[str, ...]
    metadata: tuple[SceneObject, ...]  # the things that it names or asks for

    def annotation(self) -> dict[str, Any]:
        """Return the annotation of the question, without its ids."""
        return {
            "question_type": self.prefix,
            "answer_type": self.kind,
            "multiple_choice_answer": Counter(self.answers).most_common(1)[0][0],
            "answers": [
                {"answer": answer, "answer_confidence": confidence, "answer_id": n + 1}
                for n, (answer, confidence) in enumerate(zip(self.answers, self.confidences, strict=True))
            ],
        }

    @property
    def boxes(self) -> list[list[float]]:
        """What must be looked at to answer it: boxes of the things that it names or asks for."""
        return [list(thing.box) for thing in self.metadata]


@dataclass(frozen=True)
class _Asked:
    """A question with its true answer and what a careless annotator may say instead."""

    text: str
    prefix: str
    kind: str
    answer: str
    mistakes: tuple[str, ...]
    metadata: tuple[SceneObject, ...]


def ask(rng: np.random.Generator, things: list[SceneObject], count: int) -> list[Question]:
    """Ask ``count`` different questions, of all three types in turn."""
    questions: dict[str, Question] = {}
    turn = int(rng.integers(3))
    for attempt in range(count * 20):
        if len(questions) == count:
            break
        makers = MAKERS[(turn + attempt) % 3]
        asked = makers[int(rng.integers(len(makers)))](rng, things)
        if asked is not None and asked.text not in questions:
            questions[asked.text] = _answered(rng, asked)
    return list(questions.values())


def _answered(rng: np.random.Generator, asked: _Asked) -> Question:
    care = rng.uniform(0.8, 1.0)
    answers, confidences = [], []
    for _ in range(ANNOTATORS):
        right = rng.random() < care
        answers.append(asked.answer if right else str(rng.choice(asked.mistakes)))
        sure = 0.9 if right else 0.4
        confidences.append("yes" if rng.random() < sure else str(rng.choice(["maybe", "no"])))
    return Question(asked.text, asked.prefix, asked.kind, tuple(answers), tuple(confidences), asked.metadata)


def _names(thing: SceneObject) -> tuple[str, ...]:
    return NOUNS[thing.kind]


def _refer(rng: np.random.Generator, things: list[SceneObject]) -> tuple[SceneObject, str] | None:
    """Choose a thing that kind, or colour and kind, tells from all others, and name it so."""
    for n in rng.permutation(len(things)):
        thing = things[n]
        noun = _names(thing)[int(rng.random() < 0.2) % len(_names(thing))]
        alike = [t for t in things if t.kind == thing.kind]
        if len(alike) == 1:
            return thing, noun
        if sum(t.color == thing.color for t in alike) == 1:
            return thing, f"{thing.color} {noun}"
    return None


def _two(
    rng: np.random.Generator, things: list[SceneObject]
) -> tuple[SceneObject, str, SceneObject, str] | None:
    first = _refer(rng, things)
    rest = [t for t in things if first and t.kind != first[0].kind]
    second = _refer(rng, rest) if rest else None
    return (*first, *second) if first and second else None


def _those(things: list[SceneObject], **wanted: str) -> tuple[SceneObject, ...]:
    """Return the things with some attributes."""
    return tuple(t for t in things if all(getattr(t, name) == value for name, value in wanted.items()))


def _yes_no(text: str, prefix: str, truth: bool, metadata: tuple[SceneObject, ...]) -> _Asked:
    answer, other = ("yes", "no") if truth else ("no", "yes")
    return _Asked(text, prefix, "yes/no", answer, (other,), metadata)


def _is_there(rng: np.random.Generator, things: list[SceneObject]) -> _Asked:
    truth = bool(rng.random() < 0.5)
    present = {(t.color, t.kind) for t in things}
    while True:
        thing = things[rng.integers(len(things))]
        color, kind = thing.color, thing.kind
        if not truth and rng.random() < 0.5:
            color = COLORS[rng.integers(len(COLORS))]
        elif not truth:
            kind = KINDS[rng.integers(len(KINDS))]
        if ((color, kind) in present) == truth:
            text = f"Is there a {color} {NOUNS[kind][0]}?".replace("a orange", "an orange")
            return _yes_no(text, "is there a", truth, _those(things, color=color, kind=kind))


def _is_color(rng: np.random.Generator, things: list[SceneObject]) -> _Asked | None:
    alone = [t for t in things if sum(o.kind == t.kind for o in things) == 1]
    if not alone:
        return None
    thing = alone[rng.integers(len(alone))]
    truth = bool(rng.random() < 0.5)
    wrong = [t.color for t in things if t.color != thing.color] or [c for c in COLORS if c != thing.color]
    color = thing.color if truth else wrong[rng.integers(len(wrong))]
    return _yes_no(f"Is the {_names(thing)[0]} {color}?", "is the", truth, (thing,))


def _is_related(rng: np.random.Generator, things: list[SceneObject]) -> _Asked | None:
    pair = _two(rng, things)
    if pair is None:
        return None
    a, a_name, b, b_name = pair
    truth = relation(a, b, things.index(a) > things.index(b))
    opposite = {
        "left of": "right of",
        "right of": "left of",
        "above": "below",
        "below": "above",
        "in front of": "behind",
        "behind": "in front of",
    }
    said = truth if rng.random() < 0.5 else opposite[truth]
    words = f"to the {said}" if said in ("left of", "right of") else said
    return _yes_no(f"Is the {a_name} {words} the {b_name}?", "is the", said == truth, (a, b))


def _is_bigger(rng: np.random.Generator, things: list[SceneObject]) -> _Asked | None:
    pair = _two(rng, things)
    if pair is None or pair[0].size == pair[2].size:
        return None
    a, a_name, b, b_name = pair
    bigger = SIZES.index(a.size) > SIZES.index(b.size)
    if rng.random() < 0.5:
        return _yes_no(f"Is the {a_name} bigger than the {b_name}?", "is the", bigger, (a, b))
    return _yes_no(f"Is the {a_name} smaller than the {b_name}?", "is the", not bigger, (a, b))


def _more(rng: np.random.Generator, things: list[SceneObject]) -> _Asked | None:
    counts = Counter(t.kind for t in things)
    a, b = (str(k) for k in rng.choice(KINDS, 2, replace=False))
    if rng.random() < 0.7:
        a = things[rng.integers(len(things))].kind
        b = things[rng.integers(len(things))].kind
    if a == b or counts[a] == counts[b]:
        return None
    return _yes_no(
        f"Are there more {plural(NOUNS[a][0])} than {plural(NOUNS[b][0])}?",
        "are there",
        counts[a] > counts[b],
        _those(things, kind=a) + _those(things, kind=b),
    )


def _number(text: str, counted: tuple[SceneObject, ...]) -> _Asked:
    count = len(counted)
    mistakes = tuple(str(n) for n in (count - 1, count + 1) if n >= 0)
    return _Asked(text, "how many", "number", str(count), mistakes, counted)


def _how_many_kind(rng: np.random.Generator, things: list[SceneObject]) -> _Asked:
    kind = things[rng.integers(len(things))].kind if rng.random() < 0.85 else str(rng.choice(KINDS))
    noun = plural(NOUNS[kind][0])
    return _number(f"How many {noun} are there?", _those(things, kind=kind))


def _how_many_color(rng: np.random.Generator, things: list[SceneObject]) -> _Asked:
    color = things[rng.integers(len(things))].color if rng.random() < 0.85 else str(rng.choice(COLORS))
    return _number(f"How many {color} things are there?", _those(things, color=color))


def _how_many(rng: np.random.Generator, things: list[SceneObject]) -> _Asked:
    if rng.random() < 0.4:
        return _number("How many striped things are there?", _those(things, texture="striped"))
    return _number("How many things are in the picture?", tuple(things))


def _what_color(rng: np.random.Generator, things: list[SceneObject]) -> _Asked | None:
    alone = [t for t in things if sum(o.kind == t.kind for o in things) == 1]
    if not alone:
        return None
    thing = alone[rng.integers(len(alone))]
    noun = _names(thing)[int(rng.random() < 0.2) % len(_names(thing))]
    mistakes = tuple(c for c in COLORS if c != thing.color)
    text = f"What color is the {noun}?"
    return _Asked(text, "what color is the", "other", thing.color, mistakes, (thing,))


def _what_thing(rng: np.random.Generator, things: list[SceneObject]) -> _Asked | None:
    alone = [t for t in things if sum(o.color == t.color for o in things) == 1]
    if not alone:
        return None
    thing = alone[rng.integers(len(alone))]
    text = f"What is the {thing.color} thing?"
    return _Asked(text, "what is the", "other", thing.kind, _confusable(thing), (thing,))


def _what_is_where(rng: np.random.Generator, things: list[SceneObject]) -> _Asked | None:
    """Ask for the nearest thing on one side of another, if nothing else is nearly as near."""
    referred = _refer(rng, things)
    if referred is None:
        return None
    anchor, name = referred
    side = str(rng.choice(["left of", "right of", "above", "below"]))
    found = [
        t
        for t in things
        if t is not anchor and relation(t, anchor, things.index(t) > things.index(anchor)) == side
    ]
    if len(found) != 1:
        return None
    words = f"to the {side}" if side in ("left of", "right of") else side
    text = f"What is {words} the {name}?"
    return _Asked(text, "what is", "other", found[0].kind, _confusable(found[0]), (anchor, found[0]))


def _where(rng: np.random.Generator, things: list[SceneObject]) -> _Asked | None:
    referred = _refer(rng, things)
    if referred is None:
        return None
    thing, name = referred
    x, y = (v / CANVAS - 0.5 for v in thing.middle)
    if max(abs(x), abs(y)) < 0.12:
        answer = "middle"
    elif abs(abs(x) - abs(y)) < 0.06:
        return None
    elif abs(x) > abs(y):
        answer = "left" if x < 0 else "right"
    else:
        answer = "top" if y < 0 else "bottom"
    mistakes = tuple(a for a in ("left", "right", "top", "bottom", "middle") if a != answer)
    return _Asked(f"Where is the {name}?", "where is the", "other", answer, mistakes, (thing,))


def _which(rng: np.random.Generator, things: list[SceneObject]) -> _Asked | None:
    pair = _two(rng, things)
    if pair is None or pair[0].size == pair[2].size:
        return None
    a, a_name, b, b_name = pair
    bigger, smaller = (a, b) if SIZES.index(a.size) > SIZES.index(b.size) else (b, a)
    text = f"Which is bigger, the {a_name} or the {b_name}?"
    return _Asked(text, "which", "other", bigger.kind, (smaller.kind,), (a, b))


def _confusable(thing: SceneObject) -> tuple[str, ...]:
    return tuple(n for n in _names(thing) if n != thing.kind) or tuple(k for k in KINDS if k != thing.kind)


_Maker = Callable[[np.random.Generator, list[SceneObject]], _Asked | None]
MAKERS: tuple[tuple[_Maker, ...], ...] = (
    (_is_there, _is_color, _is_related, _is_bigger, _more),
    (_how_many_kind, _how_many_color, _how_many),
    (_what_color, _what_thing, _what_is_where, _where, _which),
)
