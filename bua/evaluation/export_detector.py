"""Exporting a trained detector to one small file, with a JSON file of its recipe and precision."""

import json
from pathlib import Path
from typing import Any

import yaml

from bua.data.detection.dataset import DetectionDataset
from bua.detectors.c4.model import C4RCNN
from bua.detectors.c4.weights import load_c4, save_c4
from bua.detectors.fpn import TorchvisionRCNN, load_fpn, save_fpn
from bua.detectors.pyramid import NarrowPyramidRCNN, load_weights, save_weights
from bua.engine.instantiate import instantiate
from bua.engine.loading import find_checkpoint, read_checkpoint
from bua.engine.run_directory import RunDirectory
from bua.errors import InputError
from bua.evaluation.detection import attribute_accuracy, evaluate_detector
from bua.io.files import file_sha256, read_json
from bua.io.write import write_text
from bua.public_names import to_public, to_targets


def export_detector(run: Path, out: Path, instances: Path, images: Path) -> dict[str, Any]:
    """Write the weights of a trained detector, and a JSON file about them in the same folder.

    Args:
        run: Run directory of the detector.
        out: File to write; its JSON file ends in ``.json``.
        instances: COCO instances file to evaluate on.
        images: Folder of their image files.

    Returns:
        The content of the JSON file: weights, hash, measured scores, recipe and provenance.

    Raises:
        InputError: If the run is not one of a detector, or a file is broken.
    """
    record, state = read_checkpoint(find_checkpoint(run))
    model = instantiate(to_targets(record["model"]), allowed=("bua.detectors.",))
    model.load_state_dict(state)
    out.parent.mkdir(parents=True, exist_ok=True)
    exported = write_detector(out, model, record["model"])
    provenance = read_json(run / "provenance.json")
    for source in provenance["sources"].values():
        source["file"] = Path(source["file"]).name
    test = DetectionDataset(instances, images, flip=False, keep_all=True)
    test.check_photos()
    evaluation = record["objective"].get("evaluation", "coco")
    scores = {**evaluate_detector(exported, test, evaluation), **attribute_accuracy(exported, test)}
    scenes = instances.parent / "scenes.json"
    overrides = yaml.safe_load((run / "overrides.yaml").read_text())
    content = {
        "weights": out.name,
        "sha256": file_sha256(out),
        "bytes": out.stat().st_size,
        "measured": {"images": len(test), **scores},
        "measured_on": {"file": instances.name, "sha256": file_sha256(instances)},
        "recipe": {
            "train": [_without_folder(word) for word in overrides],
            "scenes": read_json(scenes) if scenes.exists() else None,
            "trainer": to_public(RunDirectory(run).config()["trainer"]),
        },
        "provenance": provenance,
    }
    write_text(out.with_suffix(".json"), json.dumps(content, indent=1))
    return content


def _without_folder(word: str) -> str:
    """Return an override without the folders of its path, which are meaningless on another machine."""
    key, _, value = word.partition("=")
    return f"{key}={Path(value).name}"


def write_detector(out: Path, model: Any, recipe: dict[str, Any]) -> Any:
    """Write a detector to a file in bua's own format, and return the detector that is read back from it.

    Args:
        out: File to write.
        model: Detector.
        recipe: Configuration of the model, with public names.

    Raises:
        InputError: If the model is not a detector.
    """
    if isinstance(model, NarrowPyramidRCNN):
        sizes = {k: v for k, v in recipe.items() if k != "class"}
        sizes["backbone"] = {k: v for k, v in sizes["backbone"].items() if k != "class"}
        save_weights(out, model, sizes)
        return load_weights(out)[0].eval()
    if isinstance(model, TorchvisionRCNN):
        save_fpn(out, model)
        return load_fpn(out, model.architecture, proposals=model.proposals).eval()
    if isinstance(model, C4RCNN):
        save_c4(out, model)
        return load_c4(out).eval()
    raise InputError(f"{recipe['class']} is not a detector that can be exported")
