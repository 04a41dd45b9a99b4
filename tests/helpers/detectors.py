"""Small detectors, slow references of box arithmetic, and contents of stores, for the tests of detectors."""

import math
from pathlib import Path

import h5py
import numpy as np
import torch
from torchvision.models.detection import FasterRCNN

from bua.detectors.c4.model import C4RCNN
from bua.detectors.fpn import ARCHITECTURES
from bua.detectors.photo import Resize

#: Sizes at which no anchor of the paper's detector lies inside an image, and at which many do.
SMALL, LARGER = (Resize(min_size=side, max_size=2 * side, rule="caffe") for side in (64, 160))


def small_c4(**options) -> C4RCNN:
    """Return the paper's detector with its original widths and one block per stage."""
    torch.manual_seed(0)
    arguments = {"blocks": (1, 1, 1, 1), "proposals": 20, "resize": SMALL} | options
    return C4RCNN(classes=["a", "b", "c"], attributes=["x", "y"], **arguments).eval()


def torchvision_detector(name: str) -> FasterRCNN:
    """Return torchvision's own detector with random weights, scaled so that its scores differ."""
    torch.manual_seed(1)
    net = ARCHITECTURES[name].build(
        weights=None, weights_backbone=None, min_size=96, max_size=160, rpn_post_nms_top_n_test=40
    )
    with torch.no_grad():
        for key, value in net.state_dict().items():
            if key.endswith("running_var"):
                value.copy_(torch.rand_like(value) * 0.5 + 0.75)
        net.roi_heads.box_predictor.cls_score.weight.mul_(3000 if "mobile" in name else 8)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and name == "fpn_r50":
            module.eps = 1e-30  # 0 in the published weights, which some versions of torch reject
    return net.eval()


def save_torchvision_detector(name: str, folder: Path) -> tuple[FasterRCNN, Path]:
    """Return torchvision's own detector, and a file of its weights as torchvision publishes them."""
    net = torchvision_detector(name)
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, folder / f"{name}.pth")
    return net, folder / f"{name}.pth"


def slow_decode(box, delta, offset, weights, max_log_scale):
    """Apply box deltas to one box."""
    x1, y1, x2, y2 = box
    dx, dy, dw, dh = (d / w for d, w in zip(delta, weights, strict=True))
    if max_log_scale is not None:
        dw, dh = min(dw, max_log_scale), min(dh, max_log_scale)
    width, height = x2 - x1 + offset, y2 - y1 + offset
    x, y = x1 + width / 2 + dx * width, y1 + height / 2 + dy * height
    w, h = math.exp(dw) * width, math.exp(dh) * height
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def slow_nms(boxes, scores, threshold, offset, inclusive):
    """Return the indices that non-maximum suppression keeps, one box after the other."""
    order = sorted(range(len(boxes)), key=lambda i: -scores[i])
    kept = []
    for i in order:
        for k in kept:
            a, b = boxes[k], boxes[i]
            w = max(np.float32(0), min(a[2], b[2]) - max(a[0], b[0]) + offset)
            h = max(np.float32(0), min(a[3], b[3]) - max(a[1], b[1]) + offset)
            areas = sum((c[2] - c[0] + offset) * (c[3] - c[1] + offset) for c in (a, b))
            # In single precision, compared with a threshold in double precision, as in C.
            overlap = float(w * h / (areas - w * h))
            if overlap > threshold or (inclusive and overlap >= threshold):
                break
        else:
            kept.append(i)
    return kept


def store_arrays(path: Path) -> dict[str, bytes]:
    """Return the bytes of every dataset of a feature store, by name."""
    with h5py.File(path) as file:
        return {name: file[name][:].tobytes() for name in file}
