"""``bua caption``: caption images, starting from pixels."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bua.detectors.photo import Photo, map_photos
from bua.detectors.photo_files import PhotoFile, find_photos
from bua.engine.instantiate import instantiate
from bua.engine.loading import load
from bua.inference.predict import caption_output_record
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
    for file, photo, output in map_photos(predict, files, "bua caption", stretch_gray=predictor.stretch_gray):
        name = file.path.name
        if options.json:
            records.append(caption_output_record(name, output))
        else:
            print(f"{name}: {output.text}")
        if options.html:
            panels.append(caption_panel(name, photo, output, predictor))
    if options.json:
        print(json.dumps(records, indent=1))
    if options.html:
        write_gallery(Path(options.html), "Captions", panels)
