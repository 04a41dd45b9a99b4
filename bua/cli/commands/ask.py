"""``bua ask``: answer a question about images, starting from pixels."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from bua.cli.main import POSITIVE
from bua.detectors.photo import Photo, map_photos
from bua.detectors.photo_files import PhotoFile, find_photos
from bua.engine.loading import load
from bua.inference.predict import vqa_output_record
from bua.inference.predictor import VQAOutput
from bua.visualize.panels import vqa_panel, write_gallery


@dataclass
class Options:
    """Keys of the command, described in conf/ask.yaml."""

    run: str
    images: str
    question: str
    root: str | None
    html: str | None
    json: bool
    candidates: int = field(metadata=POSITIVE)
    weights: str | None
    allow_other_features: bool
    device: str
    precision: str


def main(options: Options) -> None:
    """Print the answer for every image, and write JSON or an attention page on request."""
    predictor = load(
        options.run,
        device=options.device,
        precision=options.precision,
        weights=options.weights,
        allow_other_features=options.allow_other_features,
    )
    files = find_photos(options.images, options.root)

    def predict(file: PhotoFile, photo: Photo) -> VQAOutput:
        return predictor.ask(photo, options.question, candidates=options.candidates)

    records, panels = [], []
    for file, photo, output in map_photos(predict, files, "bua ask", stretch_gray=predictor.stretch_gray):
        name = file.path.name
        if options.json:
            records.append(vqa_output_record(name, options.question, output))
        else:
            candidates = ", ".join(f"{text} {score:.2f}" for text, score in output.candidates)
            print(f"{name}: {output.text}  ({candidates})")
        if options.html:
            panels.append(vqa_panel(name, photo, options.question, output, predictor))
    if options.json:
        print(json.dumps(records, indent=1))
    if options.html:
        write_gallery(Path(options.html), "Answers", panels)
