"""Words that captions must contain: a JSON object ``{"IMAGE_ID": [["dog", "dogs"], "fire hydrant"]}``.

Each entry of an image is one constraint: a phrase, or a list of phrases of which one suffices.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bua.decode import Automaton, build_automaton
from bua.decode.automaton import Constraint, Phrase
from bua.errors import InputError
from bua.io.files import read_json
from bua.store.reader import FeatureStore
from bua.structures.annotations import ImageId
from bua.structures.regions import Regions
from bua.text.plural import plural
from bua.text.vocabulary import UNKNOWN, Vocabulary

#: Largest number of constraints of an image: an automaton has a state for every set of satisfied ones.
MAX_CONSTRAINTS = 5
#: Number of unknown phrases that are listed, the most frequent ones.
LISTED_PHRASES = 5


def read_constraints(
    path: Path | str, vocabulary: Vocabulary, report: Callable[[str], None]
) -> dict[str, list[Constraint]]:
    """Read constraints as word indices, by image id as text.

    A constraint whose phrases all hold unknown words cannot be satisfied. It is kept, without phrases, and
    counted.

    Args:
        path: JSON file of constraints.
        vocabulary: Vocabulary of the captioner.
        report: Called with a line that counts and lists the constraints that cannot be satisfied.

    Raises:
        InputError: If the file is broken, an image has more than ``MAX_CONSTRAINTS`` constraints, or the
            vocabulary consists of subwords.
    """
    if vocabulary.subword_model:
        raise InputError(f"{path}: constraints are whole words, but the model generates subwords")
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: must be an object of lists of phrases by image id")
    constraints: dict[str, list[Constraint]] = {}
    unknown: Counter[str] = Counter()
    for image_id, entries in content.items():
        if not isinstance(entries, list) or len(entries) > MAX_CONSTRAINTS:
            raise InputError(
                f"{path}: image {image_id}: must have a list of at most {MAX_CONSTRAINTS} constraints"
            )
        constraints[image_id] = []
        for entry in entries:
            texts = [entry] if isinstance(entry, str) else entry
            if not _are_texts(texts):
                raise InputError(f"{path}: image {image_id}: {entry!r:.60} is not a text or a list of texts")
            phrases = [tuple(vocabulary.encode(text)) for text in texts]
            known = [phrase for phrase in phrases if phrase and UNKNOWN not in phrase]
            constraints[image_id].append(known)
            if not known:
                unknown[" / ".join(texts)] += 1
    if unknown:
        listed = ", ".join(text for text, _ in unknown.most_common(LISTED_PHRASES))
        more = f" and {len(unknown) - LISTED_PHRASES} others" if len(unknown) > LISTED_PHRASES else ""
        report(f"{path}: {unknown.total()} constraints are ignored: the vocabulary lacks {listed}{more}")
    return constraints


def detected_constraints(
    regions: Regions,
    names: Sequence[str],
    *,
    max_constraints: int,
    threshold: float,
    exclude: Collection[str],
) -> list[list[str]]:
    """Return the most probable classes of an image as constraints, each in singular and plural.

    Args:
        regions: Regions with classes and their probabilities.
        names: Names of the classes; one class may have several, separated by commas.
        max_constraints: Largest number of constraints.
        threshold: Lowest probability of a class.
        exclude: Names of classes that are not constraints, in lower case.
    """
    if regions.class_id is None or regions.class_score is None:
        return []
    best: dict[int, float] = {}
    for class_id, score in zip(regions.class_id.tolist(), regions.class_score.tolist(), strict=True):
        best[class_id] = max(score, best.get(class_id, 0.0))
    kept = [
        n
        for n, score in best.items()
        if score >= threshold and not set(names[n].lower().split(",")) & set(exclude)
    ]
    kept.sort(key=lambda n: (-best[n], n))
    return [singular_and_plural(names[n]) for n in kept[:max_constraints]]


def singular_and_plural(names: str) -> list[str]:
    """Return the names of a class, separated by commas, each in singular and plural."""
    return [form for name in names.split(",") for form in (name, plural(name))]


def build_automata(
    constraints: Mapping[str, Sequence[Constraint]], image_ids: Iterable[ImageId], required: int | None
) -> Automaton:
    """Return the automata of a batch of images.

    Args:
        constraints: Constraints by image id as text; an image may have none.
        image_ids: Images of the batch.
        required: Number of constraints that suffice, or ``None`` for all.
    """
    wanted = [constraints.get(str(image_id), []) for image_id in image_ids]
    return build_automaton([[phrases for phrases in image if phrases] for image in wanted], required)


def count_satisfied(words: Sequence[str], constraints: Sequence[Constraint], vocabulary: Vocabulary) -> int:
    """Return how many constraints a caption satisfies."""
    indices = tuple(vocabulary.index(word) for word in words)

    def contains(phrase: Phrase) -> bool:
        return any(indices[n : n + len(phrase)] == phrase for n in range(len(indices)))

    return sum(any(map(contains, phrases)) for phrases in constraints)


def _are_texts(texts: Any) -> bool:
    if not isinstance(texts, list) or not texts:
        return False
    return all(isinstance(text, str) and text.strip() for text in texts)


def store_constraints(
    store: FeatureStore,
    ids: Sequence[ImageId] | None,
    *,
    max_constraints: int,
    threshold: float,
    exclude: Collection[str],
) -> dict[str, list[list[str]]]:
    """Return the constraints of the images of a feature store, by image id as text.

    Args:
        store: Feature store of a detector with named classes.
        ids: Images to return. Default: all.
        max_constraints: Maximum number of constraints of an image.
        threshold: Minimum probability of a class.
        exclude: Names of classes that are not constraints, in any case.

    Raises:
        InputError: If the store has no named classes, or lacks an image or an excluded class.
    """
    names = store.metadata.class_names
    if not names or store[store.image_ids[0]].class_id is None:
        raise InputError(f"{store.path}: has no named classes; extract with a detector that has them")
    excluded = frozenset(name.lower() for name in exclude)
    unknown = sorted(excluded - {name.lower() for entry in names for name in entry.split(",")})
    if unknown:
        raise InputError(f"exclude={unknown[0]}: {store.path} has no such class")
    return {
        str(image_id): detected_constraints(
            store[image_id],
            names,
            max_constraints=max_constraints,
            threshold=threshold,
            exclude=excluded,
        )
        for image_id in (store.image_ids if ids is None else ids)
    }
