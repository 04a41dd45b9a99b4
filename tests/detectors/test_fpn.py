"""torchvision's detectors as detectors of regions, compared with torchvision itself."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch

from bua.detectors import weight_files
from bua.detectors.detector import detect_regions
from bua.detectors.fpn import ARCHITECTURES, FpnDetector, TorchvisionRCNN, load_fpn, save_fpn
from bua.detectors.photo import Resize
from bua.detectors.selection import Selection, postprocess_detections
from bua.errors import InputError
from tests.helpers.detectors import save_torchvision_detector

RESIZE = Resize(min_size=96, max_size=160, rule="torchvision")
FIXED = Selection(min_regions=8, max_regions=8, threshold=0.2, nms_iou=0.3, pixel=1)


def photo(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (110, 150, 3), np.uint8)


def test_there_are_three_architectures() -> None:
    assert set(ARCHITECTURES) == {"fpn_r50", "fpn_r50_v2", "fpn_mobilenet"}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_detections_equal_torchvisions_own(name: str, tmp_path) -> None:
    net, path = save_torchvision_detector(name, tmp_path)
    ours = load_fpn(path, name, proposals=40, min_size=96, max_size=160).eval()
    prepared = RESIZE.prepare(photo())
    with torch.inference_mode():
        theirs = net([torch.from_numpy(photo()).permute(2, 0, 1) / 255])[0]
        found = ours.propose(prepared.pixels[None], [prepared.geometry], [None])[0]
    mine = postprocess_detections(found, score_threshold=0.05, nms_iou=0.5, max_detections=100)
    assert len(theirs["boxes"]) > 5
    torch.testing.assert_close(mine.scores, theirs["scores"], atol=1e-3, rtol=1e-2)
    same = mine.labels == theirs["labels"]
    assert same.float().mean() > 0.9  # detections of equal score may be swapped
    torch.testing.assert_close(mine.boxes[same], theirs["boxes"][same], atol=0.1, rtol=1e-2)
    best = found.probabilities[mine.index, mine.labels]
    torch.testing.assert_close(best, mine.scores)


def test_features_have_the_size_of_the_box_head_and_classes_have_cocos_names(tmp_path) -> None:
    _, path = save_torchvision_detector("fpn_mobilenet", tmp_path)
    detector = FpnDetector(
        name="fpn_mobilenet",
        architecture="fpn_mobilenet",
        weights=str(path),
        selection=FIXED,
        min_size=96,
        max_size=160,
        proposals=40,
    )
    regions = detect_regions(detector, photo())
    assert regions.features.shape == (8, 1024)
    assert detector.feature_size == 1024
    assert (detector.class_names[0], len(detector.class_names)) == ("person", 90)
    assert regions.attribute_id is None
    regions.check("photo")


def test_a_detector_with_attributes_can_be_saved_and_loaded(tmp_path) -> None:
    torch.manual_seed(0)
    model = TorchvisionRCNN(
        architecture="fpn_mobilenet", classes=["cat", "dog"], attributes=["red"], resize=RESIZE, proposals=9
    ).eval()
    save_fpn(tmp_path / "w.safetensors", model)
    loaded = load_fpn(
        tmp_path / "w.safetensors", "fpn_mobilenet", proposals=9, min_size=96, max_size=160
    ).eval()
    assert (loaded.classes, loaded.attributes) == (("cat", "dog"), ("red",))
    prepared = RESIZE.prepare(photo())
    with torch.inference_mode():
        one, two = (m.propose(prepared.pixels[None], [prepared.geometry], [None])[0] for m in (model, loaded))
    assert torch.equal(one.features, two.features)
    assert torch.equal(one.attributes, two.attributes)
    with pytest.raises(InputError, match="w.safetensors: not weights of fpn_r50: made for fpn_mobilenet"):
        load_fpn(tmp_path / "w.safetensors", "fpn_r50", proposals=9, min_size=96, max_size=160)


def test_training_can_start_from_published_weights_with_other_classes(tmp_path) -> None:
    net, path = save_torchvision_detector("fpn_mobilenet", tmp_path)
    model = TorchvisionRCNN(
        architecture="fpn_mobilenet",
        classes=["cat"],
        attributes=["red", "big"],
        resize=RESIZE,
        proposals=9,
        pretrained=str(path),
    ).train()
    assert torch.equal(model.heads.box_head.fc6.weight, net.roi_heads.box_head.fc6.weight)
    target = {
        "boxes": torch.tensor([[10.0, 10, 90, 80]]),
        "labels": torch.tensor([1]),
        "attributes": torch.tensor([[False, True, False]]),
    }
    losses = model.losses([torch.rand(3, 110, 150)], [target])
    assert len(losses) == 5
    assert all(torch.isfinite(value) for value in losses.values())


def test_weights_of_another_network_are_rejected(tmp_path) -> None:
    _, path = save_torchvision_detector("fpn_mobilenet", tmp_path)
    with pytest.raises(InputError, match=r"fpn_mobilenet\.pth: not weights of fpn_r50: "):
        load_fpn(path, "fpn_r50", proposals=9, min_size=96, max_size=160)
    (tmp_path / "x.pth").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"x\.pth: damaged"):
        load_fpn(tmp_path / "x.pth", "fpn_r50", proposals=9, min_size=96, max_size=160)


@pytest.fixture
def server(tmp_path):
    """Serve one folder over HTTP."""
    (tmp_path / "www").mkdir()
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *a: None})
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(tmp_path / "www")))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield tmp_path / "www", f"http://127.0.0.1:{http.server_port}"
    http.shutdown()


def test_published_weights_are_downloaded_once_and_verified(server, tmp_path, monkeypatch) -> None:
    import hashlib

    folder, url = server
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    content = b"weights" * 100
    name = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(content)
    path = weight_files.download(f"{url}/{name}")
    assert path.read_bytes() == content
    (folder / name).unlink()
    assert weight_files.download(f"{url}/{name}") == path
    (folder / "net-00000000.pth").write_bytes(content)
    with pytest.raises(InputError, match="net-00000000.pth elsewhere and pass weights=FILE"):
        weight_files.download(f"{url}/net-00000000.pth")
    with pytest.raises(InputError, match="cannot be downloaded .*pass weights=FILE"):
        weight_files.download(f"{url}/missing.pth")
    assert sorted(p.name for p in path.parent.iterdir()) == [name]


def test_boxes_keep_single_precision_in_a_mixed_precision_detector(tmp_path) -> None:
    """Anchors in bfloat16 would round every coordinate beyond 512 pixels to a multiple of 4."""
    _, path = save_torchvision_detector("fpn_mobilenet", tmp_path)
    options = {
        "name": "fpn_mobilenet",
        "architecture": "fpn_mobilenet",
        "weights": str(path),
        "proposals": 40,
    }
    rule = Selection(min_regions=40, max_regions=40, threshold=0.2, nms_iou=0.3, pixel=1)
    mixed = FpnDetector(**options, selection=rule, precision="bf16-mixed")
    large = np.random.default_rng(0).integers(0, 255, (800, 1200, 3), np.uint8)
    regions = detect_regions(mixed, large)
    regions.check("photo")
    assert regions.boxes[:, 2].max() <= 1200
    far = regions.boxes[regions.boxes > 512]
    assert len(far) > 5
    assert np.mean(far % 4 == 0) < 0.6
    assert mixed.configuration()["precision"] == "bf16-mixed"
    with pytest.raises(ValueError, match="16-mixed needs a GPU"):
        FpnDetector(**options, selection=rule, precision="16-mixed")
