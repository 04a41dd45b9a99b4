"""``bua ship``: a trained detector as one small file with its recipe and its measured precision."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from tqdm import tqdm

from bua.cli.build import build
from bua.cli.load import find_checkpoint, read_checkpoint
from bua.cli.provenance import sha256
from bua.cli.run import RunDirectory
from bua.data.detection import Instances
from bua.errors import InputError
from bua.json_file import read_json
from bua.metrics.detection import coco_ap
from bua.regions.pyramid import load_weights, save_weights
from bua.regions.rcnn import PyramidRCNN
from bua.store.atomic import write_text
from bua.tasks.detecting import coco_records

log = logging.getLogger(__name__)


def main(config: Any) -> None:
    """Write weights and, beside them, a JSON with recipe, hash and what was measured with them."""
    run, out = Path(config.run), Path(config.out)
    record, state = read_checkpoint(find_checkpoint(run))
    model = build(record["model"], allowed=("bua.regions.",))
    if not isinstance(model, PyramidRCNN):
        raise InputError(f"{run}: {record['model']['_target_']} is not a detector that can be shipped")
    model.load_state_dict(state)
    sizes = {k: v for k, v in record["model"].items() if k != "_target_"}
    sizes["backbone"] = {k: v for k, v in sizes["backbone"].items() if k != "_target_"}
    out.parent.mkdir(parents=True, exist_ok=True)
    save_weights(out, model, sizes)
    shipped, _ = load_weights(out)
    provenance = read_json(run / "provenance.json")
    for source in provenance["sources"].values():
        source["file"] = Path(source["file"]).name
    test = Instances(config.instances, config.images, flip=False)
    scenes = Path(config.instances).parent / "scenes.json"
    about = {
        "weights": out.name,
        "sha256": sha256(out),
        "bytes": out.stat().st_size,
        "measured": {"images": len(test), **measure(shipped.eval(), test)},
        "measured_on": {"file": Path(config.instances).name, "sha256": sha256(config.instances)},
        "recipe": {
            "train": [without_folder(word) for word in yaml.safe_load((run / "overrides.yaml").read_text())],
            "scenes": read_json(scenes) if scenes.exists() else None,
            "trainer": RunDirectory(run).config()["trainer"],
        },
        "provenance": provenance,
    }
    write_text(out.with_suffix(".json"), json.dumps(about, indent=1))
    log.info(f"{out}: {about['bytes']:,} bytes, AP50 {about['measured']['AP50']:.3f}")


def without_folder(word: str) -> str:
    """Return an override with the last part of its path only: folders of a machine tell nothing."""
    key, _, value = word.partition("=")
    return f"{key}={Path(value).name}"


@torch.inference_mode()
def measure(model: PyramidRCNN, test: Instances) -> dict[str, float]:
    """Return the average precisions of detections, and the accuracy of attributes of true boxes."""
    found: list[dict[str, Any]] = []
    truth: list[dict[str, Any]] = []
    for n in tqdm(range(len(test)), disable=None, unit=" images"):
        image, target, image_id = test[n]
        truth += coco_records(image_id, target)
        found += coco_records(image_id, model.detect([image])[0])
    instances = {
        "images": [{"id": n} for n in sorted({record["image_id"] for record in truth})],
        "annotations": [{**record, "id": n + 1} for n, record in enumerate(truth)],
        "categories": [{"id": n, "name": name} for n, name in enumerate(model.classes, 1)],
    }
    return {**coco_ap(instances, found), **_attributes(model, test)}


def _attributes(model: PyramidRCNN, test: Instances) -> dict[str, float]:
    """Return how often the most probable attribute of a true thing is one that it has.

    Looked at are the proposals that best cover the things; a thing that none covers counts as wrong.
    """
    from torchvision.ops import box_iou

    right = total = 0
    for n in range(min(len(test), 200)):
        image, target, _ = test[n]
        proposals = model.propose([image])[0]
        overlap, best = box_iou(target["boxes"], proposals.boxes).max(1)
        guess: Tensor = proposals.attributes[best, 1:].argmax(1) + 1
        hit = target["attributes"].gather(1, guess[:, None]).squeeze(1) & (overlap >= 0.5)
        right, total = right + int(hit.sum()), total + len(hit)
    return {"attribute_accuracy": right / max(total, 1)}
