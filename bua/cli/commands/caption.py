"""``bua caption``: from photographs to captions, detector in the loop."""

import json
from pathlib import Path
from typing import Any

from bua.cli.commands.photographs import each_photo, write_page
from bua.engine.instantiate import instantiate
from bua.engine.load import load
from bua.inference.outputs import CaptionOutput
from bua.inference.predictor import Predictor
from bua.visualize.page import AttendedText, Panel, Row, region_names


def main(config: Any) -> None:
    """Print a caption of every photograph; on request as JSON or with an attention page."""
    trained = load(
        config.run,
        device=config.device,
        precision=config.precision,
        weights=config.weights,
        any_features=config.any_features,
    )
    decoder = instantiate(config.decode)
    results, exhibits = [], []
    for name, photo in each_photo(config, "caption"):
        said = trained.caption(photo, decoder=decoder)
        if config.json:
            results.append(record(name, said))
        else:
            print(f"{name}: {said.text}")
        if config.html:
            exhibits.append(caption_exhibit(name, photo, said, trained))
    if config.json:
        print(json.dumps(results, indent=1))
    if config.html:
        write_page(Path(config.html), "Captions", exhibits)


def record(name: str, said: CaptionOutput) -> dict[str, Any]:
    """Return a caption as plain values: words with the region each looked at most."""
    best = said.weights.argmax(1).tolist()
    return {
        "image": name,
        "caption": said.text,
        "log_prob": said.log_prob,
        "candidates": [{"caption": one.text, "log_prob": one.log_prob} for one in said.candidates],
        "words": [
            {
                "word": word,
                "box": [round(float(v), 1) for v in said.regions.boxes[k]],
                "weight": round(float(said.weights[t, k]), 4),
            }
            for t, (word, k) in enumerate(zip(said.words, best, strict=True))
        ],
    }


def caption_exhibit(name: str, photo: Any, said: CaptionOutput, trained: Predictor) -> Panel:
    """Return a caption as a picture with words to point at."""
    pieces = [AttendedText(word, weights) for word, weights in zip(said.words, said.weights, strict=True)]
    names = region_names(said.regions, trained.detector.class_names, trained.detector.attribute_names)
    return Panel(name, photo, said.regions, names, [Row("caption", pieces)])
