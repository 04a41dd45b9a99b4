"""Generate questions about scenes, with the answers of ten annotators who are mostly right."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bua.data.scenes.captions import NOUNS, plural
from bua.data.scenes.world import CANVAS, COLORS, KINDS, SIZES, SceneObject, relation

#: Number of annotators per question.
ANNOTATORS = 10


@dataclass(frozen=True)
class SceneQuestion:
    """A question with its annotations as in VQA v2.

    Attributes:
        text: Question in words.
        question_type: First words of the question.
        answer_type: "yes/no", "number" or "other".
        answers: Answer of every annotator.
        confidences: Confidence of every annotator, "yes", "maybe" or "no".
        referents: Objects that the question mentions or asks for.
    """

    text: str
    question_type: str
    answer_type: str
    answers: tuple[str, ...]
    confidences: tuple[str, ...]
    referents: tuple[SceneObject, ...]

    def annotation(self) -> dict[str, Any]:
        """Return the annotation of the question without ids."""
        return {
            "question_type": self.question_type,
            "answer_type": self.answer_type,
            "multiple_choice_answer": Counter(self.answers).most_common(1)[0][0],
            "answers": [
                {"answer": answer, "answer_confidence": confidence, "answer_id": n + 1}
                for n, (answer, confidence) in enumerate(zip(self.answers, self.confidences, strict=True))
            ],
        }

    @property
    def boxes(self) -> list[list[float]]:
        """Boxes to attend to: those of the objects that the question mentions or asks for."""
        return [list(o.box) for o in self.referents]


@dataclass(frozen=True)
class _Draft:
    """A question with its correct answer and the mistakes that annotators may make."""

    text: str
    question_type: str
    answer_type: str
    answer: str
    mistakes: tuple[str, ...]
    referents: tuple[SceneObject, ...]


def generate_questions(
    rng: np.random.Generator, objects: list[SceneObject], count: int
) -> list[SceneQuestion]:
    """Generate distinct questions, alternating between the three answer types.

    Args:
        rng: Source of randomness.
        objects: Objects of the scene.
        count: Number of questions; a scene may allow fewer.
    """
    questions: dict[str, SceneQuestion] = {}
    first_type = int(rng.integers(3))
    for attempt in range(count * 20):
        if len(questions) == count:
            break
        templates = TEMPLATES[(first_type + attempt) % 3]
        draft = templates[int(rng.integers(len(templates)))](rng, objects)
        if draft is not None and draft.text not in questions:
            questions[draft.text] = _annotate(rng, draft)
    return list(questions.values())


def _annotate(rng: np.random.Generator, draft: _Draft) -> SceneQuestion:
    """Add the annotators' answers, each correct with the same probability between 0.8 and 1."""
    accuracy = rng.uniform(0.8, 1.0)
    answers, confidences = [], []
    for _ in range(ANNOTATORS):
        correct = rng.random() < accuracy
        answers.append(draft.answer if correct else str(rng.choice(draft.mistakes)))
        confident = 0.9 if correct else 0.4
        confidences.append("yes" if rng.random() < confident else str(rng.choice(["maybe", "no"])))
    return SceneQuestion(
        draft.text,
        draft.question_type,
        draft.answer_type,
        tuple(answers),
        tuple(confidences),
        draft.referents,
    )


def _names(scene_object: SceneObject) -> tuple[str, ...]:
    return NOUNS[scene_object.kind]


def _choose_noun(rng: np.random.Generator, scene_object: SceneObject) -> str:
    names = _names(scene_object)
    return names[int(rng.random() < 0.2) % len(names)]


def _refer(rng: np.random.Generator, objects: list[SceneObject]) -> tuple[SceneObject, str] | None:
    """Choose an object that its kind, or its kind and color, identify, and return it with its name."""
    for n in rng.permutation(len(objects)):
        chosen = objects[n]
        noun = _choose_noun(rng, chosen)
        same_kind = [o for o in objects if o.kind == chosen.kind]
        if len(same_kind) == 1:
            return chosen, noun
        if sum(o.color == chosen.color for o in same_kind) == 1:
            return chosen, f"{chosen.color} {noun}"
    return None


def _refer_to_two(
    rng: np.random.Generator, objects: list[SceneObject]
) -> tuple[SceneObject, str, SceneObject, str] | None:
    """Choose two objects of different kinds, and return them with their names."""
    first = _refer(rng, objects)
    rest = [o for o in objects if first and o.kind != first[0].kind]
    second = _refer(rng, rest) if rest else None
    return (*first, *second) if first and second else None


def _select(objects: list[SceneObject], **attributes: str) -> tuple[SceneObject, ...]:
    """Return the objects with the given attributes."""
    return tuple(o for o in objects if all(getattr(o, name) == value for name, value in attributes.items()))


def _yes_no(text: str, question_type: str, truth: bool, referents: tuple[SceneObject, ...]) -> _Draft:
    answer, other = ("yes", "no") if truth else ("no", "yes")
    return _Draft(text, question_type, "yes/no", answer, (other,), referents)


def _is_there(rng: np.random.Generator, objects: list[SceneObject]) -> _Draft:
    truth = bool(rng.random() < 0.5)
    present = {(o.color, o.kind) for o in objects}
    while True:
        chosen = objects[rng.integers(len(objects))]
        color, kind = chosen.color, chosen.kind
        if not truth and rng.random() < 0.5:
            color = COLORS[rng.integers(len(COLORS))]
        elif not truth:
            kind = KINDS[rng.integers(len(KINDS))]
        if ((color, kind) in present) == truth:
            text = f"Is there a {color} {NOUNS[kind][0]}?".replace("a orange", "an orange")
            return _yes_no(text, "is there a", truth, _select(objects, color=color, kind=kind))


def _is_color(rng: np.random.Generator, objects: list[SceneObject]) -> _Draft | None:
    unique = [a for a in objects if sum(b.kind == a.kind for b in objects) == 1]
    if not unique:
        return None
    chosen = unique[rng.integers(len(unique))]
    truth = bool(rng.random() < 0.5)
    wrong = [o.color for o in objects if o.color != chosen.color] or [c for c in COLORS if c != chosen.color]
    color = chosen.color if truth else wrong[rng.integers(len(wrong))]
    return _yes_no(f"Is the {_names(chosen)[0]} {color}?", "is the", truth, (chosen,))


def _is_related(rng: np.random.Generator, objects: list[SceneObject]) -> _Draft | None:
    pair = _refer_to_two(rng, objects)
    if pair is None:
        return None
    a, a_name, b, b_name = pair
    truth = relation(a, b, objects.index(a) > objects.index(b))
    opposite = {
        "left of": "right of",
        "right of": "left of",
        "above": "below",
        "below": "above",
        "in front of": "behind",
        "behind": "in front of",
    }
    asked = truth if rng.random() < 0.5 else opposite[truth]
    words = f"to the {asked}" if asked in ("left of", "right of") else asked
    return _yes_no(f"Is the {a_name} {words} the {b_name}?", "is the", asked == truth, (a, b))


def _is_bigger(rng: np.random.Generator, objects: list[SceneObject]) -> _Draft | None:
    pair = _refer_to_two(rng, objects)
    if pair is None or pair[0].size == pair[2].size:
        return None
    a, a_name, b, b_name = pair
    bigger = SIZES.index(a.size) > SIZES.index(b.size)
    if rng.random() < 0.5:
        return _yes_no(f"Is the {a_name} bigger than the {b_name}?", "is the", bigger, (a, b))
    return _yes_no(f"Is the {a_name} smaller than the {b_name}?", "is the", not bigger, (a, b))


def _more(rng: np.random.Generator, objects: list[SceneObject]) -> _Draft | None:
    counts = Counter(o.kind for o in objects)
    a, b = (str(k) for k in rng.choice(KINDS, 2, replace=False))
    if rng.random() < 0.7:
        a = objects[rng.integers(len(objects))].kind
        b = objects[rng.integers(len(objects))].kind
    if a == b or counts[a] == counts[b]:
        return None
    return _yes_no(
        f"Are there more {plural(NOUNS[a][0])} than {plural(NOUNS[b][0])}?",
        "are there",
        counts[a] > counts[b],
        _select(objects, kind=a) + _select(objects, kind=b),
    )


def _number(text: str, counted: tuple[SceneObject, ...]) -> _Draft:
    count = len(counted)
    mistakes = tuple(str(n) for n in (count - 1, count + 1) if n >= 0)
    return _Draft(text, "how many", "number", str(count), mistakes, counted)


def _how_many_kind(rng: np.random.Generator, objects: list[SceneObject]) -> _Draft:
    kind = objects[rng.integers(len(objects))].kind if rng.random() < 0.85 else str(rng.choice(KINDS))
    noun = plural(NOUNS[kind][0])
    return _number(f"How many {noun} are there?", _select(objects, kind=kind))


def _how_many_color(rng: np.random.Generator, objects: list[SceneObject]) -> _Draft:
    color = objects[rng.integers(len(objects))].color if rng.random() < 0.85 else str(rng.choice(COLORS))
    return _number(f"How many {color} things are there?", _select(objects, color=color))


def _how_many(rng: np.random.Generator, objects: list[SceneObject]) -> _Draft:
    if rng.random() < 0.4:
        return _number("How many striped things are there?", _select(objects, texture="striped"))
    return _number("How many things are in the picture?", tuple(objects))


def _what_color(rng: np.random.Generator, objects: list[SceneObject]) -> _Draft | None:
    unique = [a for a in objects if sum(b.kind == a.kind for b in objects) == 1]
    if not unique:
        return None
    chosen = unique[rng.integers(len(unique))]
    noun = _choose_noun(rng, chosen)
    mistakes = tuple(c for c in COLORS if c != chosen.color)
    text = f"What color is the {noun}?"
    return _Draft(text, "what color is the", "other", chosen.color, mistakes, (chosen,))


def _what_kind(rng: np.random.Generator, objects: list[SceneObject]) -> _Draft | None:
    unique = [a for a in objects if sum(b.color == a.color for b in objects) == 1]
    if not unique:
        return None
    chosen = unique[rng.integers(len(unique))]
    text = f"What is the {chosen.color} thing?"
    return _Draft(text, "what is the", "other", chosen.kind, _confusable(chosen), (chosen,))


def _what_is_where(rng: np.random.Generator, objects: list[SceneObject]) -> _Draft | None:
    """Ask for the only object on one side of another."""
    referred = _refer(rng, objects)
    if referred is None:
        return None
    anchor, name = referred
    side = str(rng.choice(["left of", "right of", "above", "below"]))
    found = [
        o
        for o in objects
        if o is not anchor and relation(o, anchor, objects.index(o) > objects.index(anchor)) == side
    ]
    if len(found) != 1:
        return None
    words = f"to the {side}" if side in ("left of", "right of") else side
    text = f"What is {words} the {name}?"
    return _Draft(text, "what is", "other", found[0].kind, _confusable(found[0]), (anchor, found[0]))


def _where(rng: np.random.Generator, objects: list[SceneObject]) -> _Draft | None:
    referred = _refer(rng, objects)
    if referred is None:
        return None
    chosen, name = referred
    x, y = (v / CANVAS - 0.5 for v in chosen.box_center)
    if max(abs(x), abs(y)) < 0.12:
        answer = "middle"
    elif abs(abs(x) - abs(y)) < 0.06:
        return None
    elif abs(x) > abs(y):
        answer = "left" if x < 0 else "right"
    else:
        answer = "top" if y < 0 else "bottom"
    mistakes = tuple(a for a in ("left", "right", "top", "bottom", "middle") if a != answer)
    return _Draft(f"Where is the {name}?", "where is the", "other", answer, mistakes, (chosen,))


def _which(rng: np.random.Generator, objects: list[SceneObject]) -> _Draft | None:
    pair = _refer_to_two(rng, objects)
    if pair is None or pair[0].size == pair[2].size:
        return None
    a, a_name, b, b_name = pair
    bigger, smaller = (a, b) if SIZES.index(a.size) > SIZES.index(b.size) else (b, a)
    text = f"Which is bigger, the {a_name} or the {b_name}?"
    return _Draft(text, "which", "other", bigger.kind, (smaller.kind,), (a, b))


def _confusable(scene_object: SceneObject) -> tuple[str, ...]:
    """Return wrong kinds: the synonyms of the object, or all other kinds if it has none."""
    kind = scene_object.kind
    return tuple(n for n in NOUNS[kind] if n != kind) or tuple(k for k in KINDS if k != kind)


_Template = Callable[[np.random.Generator, list[SceneObject]], _Draft | None]
#: Question templates of the three answer types.
TEMPLATES: tuple[tuple[_Template, ...], ...] = (
    (_is_there, _is_color, _is_related, _is_bigger, _more),
    (_how_many_kind, _how_many_color, _how_many),
    (_what_color, _what_kind, _what_is_where, _where, _which),
)
