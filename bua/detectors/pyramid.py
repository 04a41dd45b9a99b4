"""``scenes_fpn``: regions from the small pyramid detector, with the weights that ship with bua."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from bua.detectors.backbone import NarrowPyramid
from bua.detectors.frozen_detector import FrozenDetector, file_sha256
from bua.detectors.rcnn import NarrowPyramidRCNN
from bua.detectors.selection import SelectionRule
from bua.errors import InputError


class PyramidDetector(FrozenDetector):
    """A frozen ``NarrowPyramidRCNN`` with a selection rule.

    Args:
        name: of the detector.
        weights: safetensors file made by ``bua ship``; none for the weights that ship with bua.
        selection: which proposals become regions.
        device: to run on.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        channels_last: lay maps out for convolutions in mixed precision.

    Raises:
        InputError: the file is missing, damaged or not of such a detector.
    """

    def __init__(
        self,
        *,
        name: str,
        weights: str | None,
        selection: SelectionRule,
        device: str = "cpu",
        precision: str = "32-true",
        channels_last: bool = False,
    ) -> None:
        path = (
            Path(weights) if weights else Path(str(files("bua.detectors.weights") / "scenes_fpn.safetensors"))
        )
        super().__init__(
            name=name,
            model=load_weights(path)[0],
            selection=selection,
            weights_sha256=file_sha256(path),
            configuration={"type": "PyramidDetector", "name": name},
            device=device,
            precision=precision,
            channels_last=channels_last,
        )


def save_weights(path: Path, model: NarrowPyramidRCNN, sizes: dict[str, Any]) -> None:
    """Write weights in half precision, with the sizes that the model is built from.

    Args:
        path: a safetensors file.
        model: the trained model.
        sizes: the keyword arguments of ``NarrowPyramidRCNN``, plain values; those of its backbone too.
    """
    tensors = {
        name: (t.half() if t.is_floating_point() else t).contiguous()
        for name, t in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(tensors, path, metadata={"pyramid_rcnn": json.dumps(sizes)})


def load_weights(path: Path) -> tuple[NarrowPyramidRCNN, dict[str, Any]]:
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
        model = NarrowPyramidRCNN(**{**sizes, "backbone": backbone})
        missing, unexpected = model.load_state_dict(load_file(path), strict=False)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: not the weights of a pyramid detector ({error})") from None
    lost = [name for name in missing if not name.endswith("num_batches_tracked")]
    if lost or unexpected:
        raise InputError(f"{path}: {[*lost, *unexpected][0]} is missing or not of this model")
    return model, sizes
