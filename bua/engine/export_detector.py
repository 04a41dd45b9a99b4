"""``bua ship``: a trained detector as one small file with its recipe and its measured precision."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from bua.data.detection.dataset import DetectionDataset
from bua.detectors.c4.model import C4RCNN
from bua.detectors.c4.weights import load_c4, save_c4
from bua.detectors.detection_evaluator import proposals_of
from bua.detectors.fpn import TorchvisionRCNN, load_fpn, save_fpn
from bua.detectors.pyramid import load_weights, save_weights
from bua.detectors.rcnn import NarrowPyramidRCNN
from bua.engine.instantiate import instantiate
from bua.engine.load import find_checkpoint, read_checkpoint
from bua.engine.provenance import sha256
from bua.engine.run_directory import RunDirectory
from bua.errors import InputError
from bua.evaluation.detection import evaluate_detector
from bua.io.atomic import write_text
from bua.io.json_file import read_json

log = logging.getLogger(__name__)


def main(config: Any) -> None:
    """Write weights and, beside them, a JSON with recipe, hash and what was measured with them."""
    run, out = Path(config.run), Path(config.out)
    record, state = read_checkpoint(find_checkpoint(run))
    model = instantiate(record["model"], allowed=("bua.detectors.",))
    model.load_state_dict(state)
    out.parent.mkdir(parents=True, exist_ok=True)
    shipped = ship(out, model, record["model"])
    provenance = read_json(run / "provenance.json")
    for source in provenance["sources"].values():
        source["file"] = Path(source["file"]).name
    test = DetectionDataset(config.instances, config.images, flip=False, whole=True)
    evaluation = record["objective"].get("evaluation", "coco")
    scores = {**evaluate_detector(shipped, test, evaluation), **attribute_accuracy(shipped, test)}
    scenes = Path(config.instances).parent / "scenes.json"
    metadata = {
        "weights": out.name,
        "sha256": sha256(out),
        "bytes": out.stat().st_size,
        "measured": {"images": len(test), **scores},
        "measured_on": {"file": Path(config.instances).name, "sha256": sha256(config.instances)},
        "recipe": {
            "train": [without_folder(word) for word in yaml.safe_load((run / "overrides.yaml").read_text())],
            "scenes": read_json(scenes) if scenes.exists() else None,
            "trainer": RunDirectory(run).config()["trainer"],
        },
        "provenance": provenance,
    }
    write_text(out.with_suffix(".json"), json.dumps(metadata, indent=1))
    log.info(f"{out}: {metadata['bytes']:,} bytes, AP50 {scores['AP50']:.3f}")


def without_folder(word: str) -> str:
    """Return an override with the last part of its path only: folders of a machine tell nothing."""
    key, _, value = word.partition("=")
    return f"{key}={Path(value).name}"


def ship(out: Path, model: Any, recipe: dict[str, Any]) -> Any:
    """Write a detector to a file of its own kind, and return what is read from it.

    Raises:
        InputError: the model is not a detector.
    """
    if isinstance(model, NarrowPyramidRCNN):
        sizes = {k: v for k, v in recipe.items() if k != "_target_"}
        sizes["backbone"] = {k: v for k, v in sizes["backbone"].items() if k != "_target_"}
        save_weights(out, model, sizes)
        return load_weights(out)[0].eval()
    if isinstance(model, TorchvisionRCNN):
        save_fpn(out, model)
        return load_fpn(out, model.architecture, proposals=model.proposals).eval()
    if isinstance(model, C4RCNN):
        save_c4(out, model)
        return load_c4(out).eval()
    raise InputError(f"{recipe['_target_']} is not a detector that can be shipped")


@torch.inference_mode()
def attribute_accuracy(model: Any, test: DetectionDataset) -> dict[str, float]:
    """Return how often the most probable attribute of a true box is one that the thing has."""
    right = total = 0
    for n in range(len(test) if model.attributes else 0):
        image, target, _ = test[n]
        attributes = proposals_of(model, image, given=target["boxes"]).attributes
        assert attributes is not None
        guess: Tensor = attributes[:, 1:].argmax(1) + 1
        hit = target["attributes"].gather(1, guess[:, None])
        right, total = right + int(hit.sum()), total + len(hit)
    return {"attribute_accuracy": right / total} if total else {}
