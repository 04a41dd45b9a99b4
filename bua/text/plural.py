"""Plurals of the things that photographs show."""

import re

#: Words whose plural is not regular.
_IRREGULAR = {
    **{"person": "people", "child": "children", "mouse": "mice", "foot": "feet", "tooth": "teeth"},
    **{"goose": "geese", "ox": "oxen", "die": "dice", "cactus": "cacti"},
    **{f"{stem}f": f"{stem}ves" for stem in ("lea", "shel", "wol", "cal", "loa", "hal", "scar", "hoo", "el")},
    **{f"{stem}fe": f"{stem}ves" for stem in ("kni", "wi", "li")},
    **{f"{stem}o": f"{stem}oes" for stem in ("tomat", "potat", "her", "mosquit", "mang")},
}
_OF_MAN = frozenset({"human", "german", "roman", "talisman", "caiman"})
#: Words that are plurals, or have none of their own.
_UNCHANGED = """
sheep deer fish goldfish jellyfish starfish squid shrimp moose bison salmon aircraft
scissors jeans pants shorts trousers tights glasses sunglasses eyeglasses goggles binoculars headphones
tongs pliers chopsticks clothes people men women children luggage furniture clothing footwear tableware
cutlery jewelry bread pasta sushi popcorn broccoli grass water snow
"""
_WORDS = frozenset(_UNCHANGED.split())


def plural(noun: str) -> str:
    """Return the plural of a noun: the regular one, unless its last word is known to have another."""
    before, space, last = noun.rpartition(" ")
    if last.lower() in _WORDS:
        return noun
    if last.lower() in _IRREGULAR:
        return f"{before}{space}{_IRREGULAR[last.lower()]}"
    if last.lower().endswith("man") and last.lower() not in _OF_MAN:
        return f"{noun[:-2]}en"
    if re.search(r"(s|x|z|ch|sh)$", noun):
        return f"{noun}es"
    return re.sub(r"(?<=[^aeiou])y$", "ie", noun) + "s"
