"""Clean the object names and attributes that the annotators of Visual Genome typed.

The rules are those of the released detector (Anderson et al. 2018, its preparation of Visual Genome).
"""

#: Leading words of a name that are attributes of the object: "small white dog" is a dog.
PREFIXES = frozenset(
    ["white", "black", "blue", "green", "red", "brown", "yellow", "small", "large", "silver", "wooden"]
    + ["orange", "gray", "grey", "metal", "pink", "tall", "long", "dark"]
)
#: The only attribute with "and" that is not split into two.
UNSPLIT = "black and white"


def clean_text(text: str) -> str:
    """Return a text in lower case, without surrounding whitespace and one trailing period."""
    cleaned = text.lower().strip()
    return cleaned[:-1].strip() if cleaned.endswith(".") else cleaned


def split_name(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the cleaned name of an object and its leading attributes.

    Attributes are split off only if all words but the last are in ``PREFIXES``; otherwise the whole text
    is the name.
    """
    cleaned = clean_text(name)
    *leading, last = cleaned.split() or [""]
    if leading and PREFIXES.issuperset(leading):
        return last, tuple(leading)
    return cleaned, ()


def split_attribute(attribute: str) -> tuple[str, ...]:
    """Return the cleaned attributes in a text, split at "and": "red and tall" are two."""
    cleaned = clean_text(attribute)
    if cleaned == UNSPLIT:
        return (cleaned,)
    return tuple(part.strip() for part in cleaned.split(" and "))


def clip_box(
    x: float, y: float, w: float, h: float, *, width: int, height: int
) -> tuple[float, float, float, float]:
    """Clip a box to its image.

    Args:
        x: Left edge in pixels.
        y: Top edge in pixels.
        w: Width of the box in pixels.
        h: Height of the box in pixels.
        width: Width of the image in pixels.
        height: Height of the image in pixels.

    Returns:
        The clipped x, y, width and height; the width or height is 0 if the box is outside of the image.
    """
    left, top = min(max(x, 0), width), min(max(y, 0), height)
    right, bottom = min(max(x + w, left), width), min(max(y + h, top), height)
    return left, top, right - left, bottom - top
