"""``bua caption``: captions of images, with the detector in the loop."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bua.detectors.photo import Photo, PhotoFile, find_photos, map_photos
from bua.engine.instantiate import instantiate
from bua.engine.loading import load
from bua.inference.predictor import CaptionOutput
from bua.visualize.panels import caption_panel, write_gallery


@dataclass
class Options:
    """Keys of the command, described in conf/caption.yaml."""

    run: str
    images: str
    root: str | None
    html: str | None
    json: bool
    weights: str | None
    allow_other_features: bool
    device: str
    precision: str
    decode: Any


def main(options: Options) -> None:
    """Print a caption of every image, and write JSON or an attention page on request."""
    decoder = instantiate(options.decode)
    predictor = load(
        options.run,
        device=options.device,
        precision=options.precision,
        weights=options.weights,
        allow_other_features=options.allow_other_features,
    )
    files = find_photos(options.images, options.root)

    def predict(file: PhotoFile, photo: Photo) -> CaptionOutput:
        return predictor.caption(photo, decoder=decoder)

    records, panels = [], []
    for file, photo, output in map_photos(predict, files, "bua caption"):
        name = file.path.name
        if options.json:
            records.append(record(name, output))
        else:
            print(f"{name}: {output.text}")
        if options.html:
            panels.append(caption_panel(name, photo, output, predictor))
    if options.json:
        print(json.dumps(records, indent=1))
    if options.html:
        write_gallery(Path(options.html), "Captions", panels)


def record(name: str, output: CaptionOutput) -> dict[str, Any]:
    """Return a caption as plain values: its words, each with the most attended region."""
    best = output.weights.argmax(1).tolist()
    return {
        "image": name,
        "caption": output.text,
        "log_prob": output.log_prob,
        "candidates": [{"caption": one.text, "log_prob": one.log_prob} for one in output.candidates],
        "words": [
            {
                "word": word,
                "box": [round(float(v), 1) for v in output.regions.boxes[k]],
                "weight": round(float(output.weights[t, k]), 4),
            }
            for t, (word, k) in enumerate(zip(output.words, best, strict=True))
        ],
    }
