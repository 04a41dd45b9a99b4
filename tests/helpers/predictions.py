"""Invalid files of predicted answers, for every command that reads one."""

import json


def prediction(question_id: object, answer: object = "yes") -> dict[str, object]:
    """Return an entry of a file of predictions."""
    return {"question_id": question_id, "answer": answer}


#: Questions that must be answered.
QUESTION_IDS = (10, 11, 12, 13)
_VALID = [prediction(i) for i in QUESTION_IDS]
#: By kind, the content of an invalid file for these questions, and parts of the message about it.
INVALID_PREDICTIONS = {
    "a missing id": (_VALID[1:], "1 of the 4 questions of", "the first is 10"),
    "unknown ids": (
        [*_VALID, prediction(5), prediction(6)],
        "question 5 is not in",
        "2 of 6 predictions have no reference",
    ),
    "a duplicate id": ([*_VALID, _VALID[0]], "question_id 10 is duplicated", "1 of 5 entries"),
    "quoted ids": ([prediction(str(i)) for i in QUESTION_IDS], "question '10'", "must not be quoted"),
    "a boolean id": (
        [*_VALID, prediction(True)],
        "question_id is True, expected an integer or a string",
        "1 of 5 entries",
    ),
    "numeric answers": (
        [prediction(i, 2) for i in QUESTION_IDS],
        "answer is 2, expected a string",
        "4 of 4 entries",
    ),
    "an object": ({"results": _VALID}, 'must be a JSON list of {"question_id", "answer"}'),
    "JSON lines": ("\n".join(map(json.dumps, _VALID)), "JSON lines", "combine them into one list"),
}
