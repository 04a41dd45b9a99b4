"""``bua ask``: answers to a question about photographs, detector in the loop."""

import json
from pathlib import Path
from typing import Any

from bua.cli.commands.photographs import each_photo, write_page
from bua.engine.load import load
from bua.inference.outputs import VQAOutput
from bua.inference.predictor import Predictor
from bua.visualize.page import AttendedText, Panel, Row, region_names


def main(config: Any) -> None:
    """Print the answer for every photograph; on request as JSON or with an attention page."""
    trained = load(
        config.run,
        device=config.device,
        precision=config.precision,
        weights=config.weights,
        any_features=config.any_features,
    )
    results, exhibits = [], []
    for name, photo in each_photo(config, "ask"):
        answer = trained.ask(photo, config.question, candidates=config.candidates)
        if config.json:
            results.append(record(name, config.question, answer))
        else:
            others = ", ".join(f"{text} {score:.2f}" for text, score in answer.candidates)
            print(f"{name}: {answer.text}  ({others})")
        if config.html:
            exhibits.append(answer_exhibit(name, photo, config.question, answer, trained))
    if config.json:
        print(json.dumps(results, indent=1))
    if config.html:
        write_page(Path(config.html), "Answers", exhibits)


def record(name: str, question: str, answer: VQAOutput) -> dict[str, Any]:
    """Return an answer as plain values, with the region most looked at."""
    best = int(answer.weights.argmax())
    return {
        "image": name,
        "question": question,
        "answer": answer.text,
        "score": answer.score,
        "candidates": [{"answer": text, "score": score} for text, score in answer.candidates],
        "box": [round(float(v), 1) for v in answer.regions.boxes[best]],
        "weight": round(float(answer.weights[best]), 4),
    }


def answer_exhibit(name: str, photo: Any, question: str, answer: VQAOutput, trained: Predictor) -> Panel:
    """Return an answer as a picture with a question to point at."""
    names = region_names(answer.regions, trained.detector.class_names, trained.detector.attribute_names)
    line = Row("question", [AttendedText(question, answer.weights)], f"→ {answer.text} ({answer.score:.2f})")
    return Panel(name, photo, answer.regions, names, [line])
