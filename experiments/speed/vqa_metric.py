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

from timing import Row

#: Number of questions of test2015.
QUESTIONS = 447_793
#: Common answers as people write them, by type.
COMMON_ANSWERS = [
    ("yes/no", ["yes", "Yes", "no", "No.", "yes"]),
    ("number", ["0", "none", "1", "two", "2", "3", "four", "10", "1,000"]),
    ("other", ["white", "a cat", "t-shirt", "The street", "red and blue", "don't know", "table", "man"]),
]
QUESTION_TYPES = [f"what kind {n} of" for n in range(65)]


def records(count: int) -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """Yield questions, annotations and predictions that resemble those of VQA v2.

    All annotators agree on a third of the questions. Every seventh answer of the type "other" is unique, so
    that there are about as many different answers as in VQA v2.
    """
    draw = random.Random(0)
    for n in range(count):
        ids = {"question_id": (n // 5) * 1000 + n % 5, "image_id": n // 5}
        answer_type, common = COMMON_ANSWERS[draw.choices([0, 1, 2], [38, 13, 49])[0]]
        answer = draw.choice(common)
        if answer_type == "other" and draw.random() < 0.5:
            answer = f"thing {draw.randrange(3000)}"
        answers = [answer] * 10
        if draw.random() > 1 / 3:
            for a in range(10):
                if draw.random() < 0.35:
                    is_unique = answer_type == "other" and draw.random() < 1 / 7
                    answers[a] = f"a thing-{n} of {a}" if is_unique else draw.choice(common)
        annotation = {
            **ids,
            "question_type": QUESTION_TYPES[draw.randrange(65)],
            "answer_type": answer_type,
            "multiple_choice_answer": answer,
            "answers": [
                {"answer": text, "answer_confidence": "yes", "answer_id": a + 1}
                for a, text in enumerate(answers)
            ],
        }
        prediction = draw.choice([answer, draw.choice(common)])
        question = {**ids, "question": f"What is thing {n}?"}
        yield question, annotation, {"question_id": ids["question_id"], "answer": prediction}


def write_files(folder: Path, count: int = QUESTIONS) -> None:
    """Write the three files record by record: the peak memory of a process includes that of its parent."""
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


def measure_score() -> Row:
    """Time the command as a process, including reading, and measure its peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder))
        names = ("predictions", "questions", "annotations")
        command = [sys.executable, "-m", "bua", "score", "task=vqa"]
        command += [f"{name}={folder}/{name}.json" for name in names]
        started = time.perf_counter()
        _, status, usage = os.wait4(subprocess.Popen(command, stdout=subprocess.DEVNULL).pid, 0)
        seconds = time.perf_counter() - started
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with status {status}")
    cpu_seconds, memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20
    return {
        "what": f"`bua score task=vqa` on {QUESTIONS:,} predictions with ten annotators each, including "
        "reading",
        "value": f"{seconds:.1f} s ({cpu_seconds:.1f} s of CPU time, {memory:.2f} GiB)",
        "target": "20 s",
    }
