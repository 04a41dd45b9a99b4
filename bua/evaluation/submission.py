"""Files for the servers that score test splits: in their format, under their name, checked.

The VQA challenge (EvalAI, challenge 830) takes one JSON list with an answer to every question of
test2015, in the phase test-dev, too; COCO's caption server one with a caption of every image of a split.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bua.errors import InputError
from bua.store.reader import ImageId

#: Questions of VQA v2's test2015.
TEST2015 = 447_793


class ServerFormat(NamedTuple):
    """What a server wants.

    Attributes:
        key: the field of the id.
        value: the field of the text.
        noun: what an id names.
        file_name: the official name of a file, of ``{subset}`` and ``{name}`` of the method.
        subsets: of the data set, by the names of their splits here.
    """

    key: str
    value: str
    noun: str
    file_name: str
    subsets: Mapping[str, str]


SERVER_FORMATS = {
    "vqa": ServerFormat(
        "question_id",
        "answer",
        "question",
        "v2_OpenEnded_mscoco_{subset}_{name}_results.json",
        {"val": "val2014", "test-dev": "test-dev2015", "test-std": "test2015"},
    ),
    "caption": ServerFormat(
        "image_id",
        "caption",
        "image",
        "captions_{subset}_{name}_results.json",
        {"val": "val2014", "test": "test2014"},
    ),
}


def official_file(board: ServerFormat, out: str, split: str | None, name: str | None) -> Path:
    """Return the file to write: ``out`` itself, or the official name in it if it is a folder.

    A folder is one that is there, or ends in a slash, or is given with a split and has no ending.

    Raises:
        InputError: there is no such split, or the name of the file needs one; a file has a name already.
    """
    if split is not None and split not in board.subsets:
        raise InputError(f"split={split}: {', '.join(board.subsets)} is needed")
    path = Path(out)
    if not (out.endswith("/") or path.is_dir() or (split is not None and not path.suffix)):
        if name is not None:
            raise InputError(f"name={name}: out={out} is the name of the file; give a folder")
        return path
    name = "bua" if name is None else name
    if split is None:
        raise InputError(f"{out} is a folder: give split={'|'.join(board.subsets)} for the name of the file")
    if not re.fullmatch(r"[\w.-]+", name):
        raise InputError(f"name={name}: letters, digits, _, - and . are needed, it is part of a file name")
    return path / board.file_name.format(subset=board.subsets[split], name=name)


def official_text(
    board: ServerFormat, results: Mapping[ImageId, str], ids: Sequence[ImageId], path: Path | str
) -> str:
    """Return the JSON list of predictions, in the order of ``ids``, which they are about exactly.

    Raises:
        InputError: an id is not a whole number, as the servers want them; ``path`` is named.
    """
    wrong = [i for i in ids if type(i) is not int]
    if wrong:
        raise InputError(
            f"{path}: {board.noun} {wrong[0]!r} is not named by a whole number ({len(wrong)} of {len(ids)})"
        )
    return json.dumps([{board.key: i, board.value: results[i]} for i in ids], allow_nan=False)
