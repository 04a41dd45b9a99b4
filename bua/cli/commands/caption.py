"""``bua caption``: caption images, starting from pixels."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bua.cli.findings import warn_of_photographs
from bua.cli.options import POSITIVE
from bua.cli.outputs import check_file, print_json, write_json
from bua.detectors.photo import Photo, map_photos
from bua.detectors.photo_files import PhotoFile, find_photos
from bua.engine.instantiate import instantiate
from bua.engine.loading import load
from bua.inference.predict import caption_output_record, check_n_best
from bua.inference.predictor import CaptionOutput
from bua.visualize.panels import caption_panel, write_gallery


@dataclass
class Options:
    """Keys of the command, described in conf/caption.yaml."""

    run: str
    images: str | list[str]
    root: str | None
    out: str | None
    html: str | None
    json: bool
    n_best: int = field(metadata=POSITIVE)
    weights: str | None
    allow_other_features: bool
    device: str
    precision: str
    decode: Any


def main(options: Options) -> None:
    """Print the captions of every image, and write JSON or an attention page on request."""
    check_file(options.out)
    check_file(options.html)
    decoder = instantiate(options.decode)
    check_n_best(options.n_best, decoder)
    predictor = load(
        options.run,
        device=options.device,
        precision=options.precision,
        weights=options.weights,
        allow_other_features=options.allow_other_features,
    )
    files = find_photos(options.images, options.root)
    if options.weights is None:
        warn_of_photographs(predictor.record["features"]["detector"], files, "bua caption")

    def predict(file: PhotoFile, photo: Photo) -> CaptionOutput:
        return predictor.caption(photo, decoder=decoder)

    records, panels = [], []
    for file, photo, output in map_photos(predict, files, "bua caption", stretch_gray=predictor.stretch_gray):
        records.append(caption_output_record(file.image_id, output, options.n_best))
        if not options.json:
            for line in describe(file.path.name, output, options.n_best):
                print(line)
        if options.html:
            panels.append(caption_panel(file.path.name, photo, output, predictor))
    if options.json:
        print_json(records)
    if options.out is not None:
        write_json(options.out, records, f"{len(records)} captions")
    if options.html is not None:
        write_gallery(Path(options.html), "Captions", panels)


def describe(name: str, output: CaptionOutput, n_best: int) -> list[str]:
    """Return the best captions of an image, one in a line; several have their log-probabilities."""
    if n_best == 1:
        return [f"{name}: {output.text}"]
    return [f"{name}: {one.text}  ({one.log_prob:.2f})" for one in output.candidates[:n_best]]
