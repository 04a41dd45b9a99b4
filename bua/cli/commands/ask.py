"""``bua ask``: answer a question about images, starting from pixels."""

from dataclasses import dataclass, field
from pathlib import Path

from bua.cli.findings import warn_of_photographs, warn_of_unknown_words
from bua.cli.options import POSITIVE
from bua.cli.outputs import check_file, print_json, write_json
from bua.detectors.photo import Photo, map_photos
from bua.detectors.photo_files import PhotoFile, find_photos
from bua.engine.loading import load
from bua.inference.predict import vqa_output_record
from bua.inference.predictor import VQAOutput
from bua.inference.vqa import VQAPredictor
from bua.visualize.panels import vqa_panel, write_gallery


@dataclass
class Options:
    """Keys of the command, described in conf/ask.yaml."""

    run: str
    images: str | list[str]
    question: str
    root: str | None
    out: str | None
    html: str | None
    json: bool
    n_best: int = field(metadata=POSITIVE)
    weights: str | None
    allow_other_features: bool
    device: str
    precision: str


def main(options: Options) -> None:
    """Print the answers for every image, and write JSON or an attention page on request."""
    check_file(options.out)
    check_file(options.html)
    predictor = load(
        options.run,
        device=options.device,
        precision=options.precision,
        weights=options.weights,
        allow_other_features=options.allow_other_features,
    )
    files = find_photos(options.images, options.root)
    if isinstance(predictor, VQAPredictor):
        warn_of_unknown_words(predictor.vocabulary, options.question, "bua ask")
    if options.weights is None:
        warn_of_photographs(predictor.record["features"]["detector"], files, "bua ask")

    def predict(file: PhotoFile, photo: Photo) -> VQAOutput:
        return predictor.ask(photo, options.question, candidates=options.n_best)

    records, panels = [], []
    for file, photo, output in map_photos(predict, files, "bua ask", stretch_gray=predictor.stretch_gray):
        records.append(vqa_output_record(file.image_id, options.question, output))
        if not options.json:
            print(describe(file.path.name, output))
        if options.html:
            panels.append(vqa_panel(file.path.name, photo, options.question, output, predictor))
    if options.json:
        print_json(records)
    if options.out is not None:
        write_json(options.out, records, f"{len(records)} answers")
    if options.html is not None:
        write_gallery(Path(options.html), "Answers", panels)


def describe(name: str, output: VQAOutput) -> str:
    """Return the answer for an image, and the candidates with their scores if there are several."""
    candidates = ", ".join(f"{text} {score:.2f}" for text, score in output.candidates)
    return f"{name}: {output.text}" + (f"  ({candidates})" if len(output.candidates) > 1 else "")
