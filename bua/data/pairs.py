"""Reading VQA v2's complementary pairs: one question about two pictures that answer it differently."""

from pathlib import Path

from bua.errors import InputError
from bua.io.json_file import read_json
from bua.store.reader import ImageId


def read_pairs(path: Path | str) -> list[tuple[ImageId, ImageId]]:
    """Read pairs of question ids, as in ``v2_mscoco_val2014_complementary_pairs.json``.

    Raises:
        InputError: it is not a list of pairs of ids.
    """
    content = read_json(path)
    if not isinstance(content, list) or not content:
        raise InputError(f"{path}: a JSON list of pairs of question ids is needed")
    for n, pair in enumerate(content):
        if not isinstance(pair, list) or len(pair) != 2 or not all(type(i) in (int, str) for i in pair):
            raise InputError(f"{path}: pair {n} is {pair!r:.80}, the ids of two questions are needed")
    return [(first, second) for first, second in content]
