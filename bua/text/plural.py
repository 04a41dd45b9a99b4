"""Form plurals of the nouns that image captions use."""

import re

#: Nouns with an irregular plural.
_IRREGULAR = {
    **{"person": "people", "child": "children", "mouse": "mice", "foot": "feet", "tooth": "teeth"},
    **{"goose": "geese", "ox": "oxen", "die": "dice", "cactus": "cacti"},
    **{f"{stem}f": f"{stem}ves" for stem in ("lea", "shel", "wol", "cal", "loa", "hal", "scar", "hoo", "el")},
    **{f"{stem}fe": f"{stem}ves" for stem in ("kni", "wi", "li")},
    **{f"{stem}o": f"{stem}oes" for stem in ("tomat", "potat", "her", "mosquit", "mang")},
}
#: Nouns in "man" with a regular plural.
_REGULAR_MAN = frozenset({"human", "german", "roman", "talisman", "caiman"})
#: Nouns that are plurals already or do not change.
_UNCHANGED = """
sheep deer fish goldfish jellyfish starfish squid shrimp moose bison salmon aircraft
scissors jeans pants shorts trousers tights glasses sunglasses eyeglasses goggles binoculars headphones
tongs pliers chopsticks clothes people men women children luggage furniture clothing footwear tableware
cutlery jewelry bread pasta sushi popcorn broccoli grass water snow
"""
_UNCHANGED_WORDS = frozenset(_UNCHANGED.split())


def plural(noun: str) -> str:
    """Return the plural of a noun or noun phrase; only its last word changes."""
    before, space, last = noun.rpartition(" ")
    if last.lower() in _UNCHANGED_WORDS:
        return noun
    if last.lower() in _IRREGULAR:
        return f"{before}{space}{_IRREGULAR[last.lower()]}"
    if last.lower().endswith("man") and last.lower() not in _REGULAR_MAN:
        return f"{noun[:-2]}en"
    if re.search(r"(s|x|z|ch|sh)$", noun):
        return f"{noun}es"
    return re.sub(r"(?<=[^aeiou])y$", "ie", noun) + "s"
