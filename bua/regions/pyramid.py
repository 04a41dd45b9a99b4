"""``scenes_fpn``: regions from the small pyramid detector, with the weights that ship with bua."""

import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from bua.errors import InputError
from bua.regions.backbone import NarrowPyramid
from bua.regions.detector import Photo
from bua.regions.rcnn import Proposals, PyramidRCNN, class_and_attribute
from bua.regions.select import Selection
from bua.store.regions import OPTIONAL, Regions


class PyramidDetector:
    """A frozen ``PyramidRCNN`` with a selection rule.

    Args:
        name: of the detector.
        weights: safetensors file made by ``bua ship``; none for the weights that ship with bua.
        selection: which proposals become regions.
        device: to run on.

    Raises:
        InputError: the file is missing, damaged or not of such a detector.
    """

    def __init__(self, *, name: str, weights: str | None, selection: Selection, device: str = "cpu") -> None:
        path = (
            Path(weights) if weights else Path(str(files("bua.regions.weights") / "scenes_fpn.safetensors"))
        )
        self.model, self.sizes = load_weights(path)
        self.model.to(device).eval().requires_grad_(False)
        self.name, self.selection, self.device = name, selection, torch.device(device)
        self.weights_sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        self.feature_size = self.model.feature_size
        self.class_names, self.attribute_names = self.model.classes, self.model.attributes

    def configuration(self) -> dict[str, Any]:
        """Return selection, resizing and colour order; boxes are unregressed proposals."""
        return {
            "selection": self.selection.describe(),
            "colors": "RGB",
            "side": self.sizes["side"],
            "longest": self.sizes["longest"],
            "boxes": "proposals",
        }

    @torch.inference_mode()
    def __call__(self, photos: Sequence[Photo]) -> list[Regions]:
        """Return the regions of photographs of one size, their features in single precision."""
        images = [torch.from_numpy(photo).to(self.device).permute(2, 0, 1) / 255 for photo in photos]
        if len({image.shape for image in images}) > 1:
            raise ValueError("photographs of one batch must be of one size: padding changes features")
        proposals = self.model.propose(images)
        return [
            self._regions(found, (photo.shape[0], photo.shape[1]))
            for found, photo in zip(proposals, photos, strict=True)
        ]

    def _regions(self, found: Proposals, size: tuple[int, int]) -> Regions:
        if not len(found.boxes):
            raise InputError("the detector proposed no region at all")
        kept, _ = self.selection(found.boxes, found.probabilities)
        named = class_and_attribute(found)
        columns: dict[str, Any] = {
            name: _array(named[name][kept]).astype(kind) for name, kind in OPTIONAL.items()
        }
        return Regions(
            features=_array(found.features[kept]), boxes=_array(found.boxes[kept]), size=size, **columns
        )


def _array(tensor: Tensor) -> np.ndarray:
    out: np.ndarray = tensor.cpu().numpy()
    return out


def save_weights(path: Path, model: PyramidRCNN, sizes: dict[str, Any]) -> None:
    """Write weights in half precision, with the sizes that the model is built from.

    Args:
        path: a safetensors file.
        model: the trained model.
        sizes: the keyword arguments of ``PyramidRCNN``, plain values; those of its backbone too.
    """
    tensors = {
        name: (t.half() if t.is_floating_point() else t).contiguous()
        for name, t in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(tensors, path, metadata={"pyramid_rcnn": json.dumps(sizes)})


def load_weights(path: Path) -> tuple[PyramidRCNN, dict[str, Any]]:
    """Build a model from the file that ``save_weights`` wrote; nothing in the file is executed.

    Raises:
        InputError: there is no such file, or it is damaged or of another model.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give weights=FILE made by bua ship")
    try:
        with safe_open(path, framework="pt") as file:
            sizes = json.loads((file.metadata() or {})["pyramid_rcnn"])
        backbone = NarrowPyramid(**sizes["backbone"])
        model = PyramidRCNN(**{**sizes, "backbone": backbone})
        missing, unexpected = model.load_state_dict(load_file(path), strict=False)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: not the weights of a pyramid detector ({error})") from None
    lost = [name for name in missing if not name.endswith("num_batches_tracked")]
    if lost or unexpected:
        raise InputError(f"{path}: {[*lost, *unexpected][0]} is missing or not of this model")
    return model, sizes
