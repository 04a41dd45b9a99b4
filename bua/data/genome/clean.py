"""The rules that make classes and attributes of what annotators of Visual Genome typed.

They are those of the released detector (Anderson et al. 2018; its preparation of Visual Genome).
"""

#: Words in front of a name that are attributes of the object: "small white dog" is a dog.
PREFIXES = frozenset(
    ["white", "black", "blue", "green", "red", "brown", "yellow", "small", "large", "silver", "wooden"]
    + ["orange", "gray", "grey", "metal", "pink", "tall", "long", "dark"]
)
#: The one attribute with "and" that is not two.
WHOLE = "black and white"


def clean_text(text: str) -> str:
    """Return a text in lower case, without white space around it and without one full stop at its end."""
    cleaned = text.lower().strip()
    return cleaned[:-1].strip() if cleaned.endswith(".") else cleaned


def split_name(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the cleaned name of an object and the attributes in front of it.

    They are split off only if every word but the last is one of ``PREFIXES``; otherwise the whole
    text is the name.
    """
    cleaned = clean_text(name)
    *before, last = cleaned.split() or [""]
    if before and PREFIXES.issuperset(before):
        return last, tuple(before)
    return cleaned, ()


def split_attribute(attribute: str) -> tuple[str, ...]:
    """Return the cleaned attributes that one text names: "red and tall" are two."""
    cleaned = clean_text(attribute)
    if cleaned == WHOLE:
        return (cleaned,)
    return tuple(part.strip() for part in cleaned.split(" and "))


def clipped(
    x: float, y: float, w: float, h: float, *, width: int, height: int
) -> tuple[float, float, float, float]:
    """Return a box without what lies outside of its image, as x, y, width, height in pixels.

    Width or height is 0 where nothing is left.
    """
    left, top = min(max(x, 0), width), min(max(y, 0), height)
    right, bottom = min(max(x + w, left), width), min(max(y + h, top), height)
    return left, top, right - left, bottom - top
