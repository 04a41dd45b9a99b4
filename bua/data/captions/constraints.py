"""Words that captions must say: a JSON object ``{"IMAGE_ID": [["dog", "dogs"], "fire hydrant"]}``.

Each entry of an image is one constraint: a text, or several of which one is enough.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bua.decode import Automaton, automaton
from bua.decode.automaton import Constraint, Phrase
from bua.errors import InputError
from bua.io.json_file import read_json
from bua.store.reader import ImageId
from bua.structures.regions import Regions
from bua.text.plural import plural
from bua.text.vocabulary import UNKNOWN, Vocabulary

#: An automaton has a state for every set of met constraints: more of them are too many to search.
MAX_CONSTRAINTS = 5
#: So many of what the vocabulary lacks are named.
SHOWN = 5


def read_constraints(
    path: Path | str, vocabulary: Vocabulary, report: Callable[[str], None]
) -> dict[str, list[Constraint]]:
    """Read constraints as words of a vocabulary, by image id as text.

    What cannot be met, because the vocabulary has none of its words, stays as a constraint without phrases
    and is counted.

    Raises:
        InputError: the file is broken, an image has more than ``MAX_CONSTRAINTS`` constraints, or the
            vocabulary is of pieces of words.
    """
    if vocabulary.pieces:
        raise InputError(f"{path}: constraints are whole words, and the model says pieces of words")
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: an object of lists of texts by image id is needed")
    found: dict[str, list[Constraint]] = {}
    lacking: Counter[str] = Counter()
    for image_id, entries in content.items():
        if not isinstance(entries, list) or len(entries) > MAX_CONSTRAINTS:
            raise InputError(
                f"{path}: image {image_id}: a list of at most {MAX_CONSTRAINTS} constraints is needed"
            )
        found[image_id] = []
        for entry in entries:
            texts = [entry] if isinstance(entry, str) else entry
            if not _are_texts(texts):
                raise InputError(f"{path}: image {image_id}: {entry!r:.60} is not a text or a list of texts")
            phrases = [tuple(vocabulary.encode(text)) for text in texts]
            known = [phrase for phrase in phrases if phrase and UNKNOWN not in phrase]
            found[image_id].append(known)
            if not known:
                lacking[" / ".join(texts)] += 1
    if lacking:
        most = ", ".join(text for text, _ in lacking.most_common(SHOWN))
        more = f" and {len(lacking) - SHOWN} others" if len(lacking) > SHOWN else ""
        report(f"{path}: {lacking.total()} constraints are left out: the vocabulary lacks {most}{more}")
    return found


def detected_constraints(
    regions: Regions, names: Sequence[str], *, most: int, threshold: float, without: Collection[str]
) -> list[list[str]]:
    """Return the likeliest classes of an image as constraints, best first, each in singular and plural.

    Args:
        regions: with classes and their probabilities.
        names: of the classes; one may have several, with commas between.
        most: constraints.
        threshold: of probabilities.
        without: classes that are no constraints, in lower case.
    """
    if regions.class_id is None or regions.class_score is None:
        return []
    best: dict[int, float] = {}
    for number, score in zip(regions.class_id.tolist(), regions.class_score.tolist(), strict=True):
        best[number] = max(score, best.get(number, 0.0))
    kept = [
        n
        for n, score in best.items()
        if score >= threshold and not set(names[n].lower().split(",")) & set(without)
    ]
    kept.sort(key=lambda n: (-best[n], n))
    return [singular_and_plural(names[n]) for n in kept[:most]]


def singular_and_plural(names: str) -> list[str]:
    """Return the names of a class, with commas between, each in singular and plural."""
    return [form for name in names.split(",") for form in (name, plural(name))]


def _are_texts(texts: Any) -> bool:
    if not isinstance(texts, list) or not texts:
        return False
    return all(isinstance(text, str) and text.strip() for text in texts)


def build_automata(
    constraints: Mapping[str, Sequence[Constraint]], image_ids: Iterable[ImageId], required: int | None
) -> Automaton:
    """Return the automata of a batch of images; an image without constraints may say anything."""
    wanted = [constraints.get(str(image_id), []) for image_id in image_ids]
    return automaton([[phrases for phrases in image if phrases] for image in wanted], required)


def count_satisfied(words: Sequence[str], constraints: Sequence[Constraint], vocabulary: Vocabulary) -> int:
    """Return how many constraints a caption meets."""
    said = tuple(vocabulary.index(word) for word in words)

    def says(phrase: Phrase) -> bool:
        return any(said[n : n + len(phrase)] == phrase for n in range(len(said)))

    return sum(any(map(says, phrases)) for phrases in constraints)
