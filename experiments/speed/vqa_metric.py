"""Measure ``bua score task=vqa`` on as many questions as the test split of VQA v2 has."""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = dict[str, str]
#: Questions of test2015.
QUESTIONS = 447_793
#: Answers that most questions get, with their type, and how people write them.
COMMON = [
    ("yes/no", ["yes", "Yes", "no", "No.", "yes"]),
    ("number", ["0", "none", "1", "two", "2", "3", "four", "10", "1,000"]),
    ("other", ["white", "a cat", "t-shirt", "The street", "red and blue", "don't know", "table", "man"]),
]
TYPES = [f"what kind {n} of" for n in range(65)]


def records(count: int) -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """Yield questions, annotations and predictions that look like those of VQA v2.

    A third of the questions has annotators who all agree; every seventh answer of the kind "other" is
    one that comes nowhere else, so that there are about as many different answers as in VQA v2.
    """
    draw = random.Random(0)
    for n in range(count):
        ids = {"question_id": (n // 5) * 1000 + n % 5, "image_id": n // 5}
        kind, usual = COMMON[draw.choices([0, 1, 2], [38, 13, 49])[0]]
        right = draw.choice(usual)
        if kind == "other" and draw.random() < 0.5:
            right = f"thing {draw.randrange(3000)}"
        answers = [right] * 10
        if draw.random() > 1 / 3:
            for a in range(10):
                if draw.random() < 0.35:
                    alone = kind == "other" and draw.random() < 1 / 7
                    answers[a] = f"a thing-{n} of {a}" if alone else draw.choice(usual)
        annotation = {
            **ids,
            "question_type": TYPES[draw.randrange(65)],
            "answer_type": kind,
            "multiple_choice_answer": right,
            "answers": [
                {"answer": answer, "answer_confidence": "yes", "answer_id": a + 1}
                for a, answer in enumerate(answers)
            ],
        }
        said = draw.choice([right, draw.choice(usual)])
        question = {**ids, "question": f"What is thing {n}?"}
        yield question, annotation, {"question_id": ids["question_id"], "answer": said}


def write_files(folder: Path, count: int = QUESTIONS) -> None:
    """Write the three files piece by piece: the memory of this process counts for those it starts."""
    with (
        open(folder / "questions.json", "w") as questions,
        open(folder / "annotations.json", "w") as annotations,
        open(folder / "predictions.json", "w") as predictions,
    ):
        files = (questions, annotations, predictions)
        for file, head in zip(files, ('{"questions": [', '{"annotations": [', "["), strict=True):
            file.write(head)
        for n, parts in enumerate(records(count)):
            for file, part in zip(files, parts, strict=True):
                file.write((", " if n else "") + json.dumps(part))
        for file, tail in zip(files, ("]}", "]}", "]"), strict=True):
            file.write(tail)


def score_seconds() -> Row:
    """Time the command as a process, reading and all; the most memory that it held, too."""
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder))
        names = ("predictions", "questions", "annotations")
        command = [sys.executable, "-m", "bua", "score", "task=vqa"]
        command += [f"{name}={folder}/{name}.json" for name in names]
        started = time.perf_counter()
        _, status, usage = os.wait4(subprocess.Popen(command, stdout=subprocess.DEVNULL).pid, 0)
        took = time.perf_counter() - started
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with status {status}")
    busy, memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20
    return {
        "what": f"`bua score task=vqa` of {QUESTIONS:,} predictions, ten annotators each, reading and all",
        "value": f"{took:.1f} s ({busy:.1f} s of a processor, {memory:.2f} GiB)",
        "wanted": "20 s",
    }
