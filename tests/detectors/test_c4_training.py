"""Training the paper's detector: targets and losses against loops, and which parameters are trained."""

import math

import numpy as np
import pytest
import torch
from torchvision.models.resnet import Bottleneck, ResNet

from bua.detectors.boxes import BoxConvention
from bua.detectors.c4.rpn import ProposalNetwork, grid_anchors
from bua.detectors.photo import Resize
from tests.helpers.detectors import LARGER, SMALL, small_c4


def target() -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.tensor([[4.0, 4, 40, 40], [30, 10, 80, 60]]),
        "labels": torch.tensor([1, 3]),
        "attributes": torch.tensor([[False, True, True], [False, False, True]]),
    }


def test_every_part_that_is_not_frozen_has_gradients() -> None:
    model = small_c4(frozen_stages=3, resize=LARGER).train()
    losses = model.losses([torch.rand(3, 70, 90)], [target()])
    assert set(losses) == {"rpn_class", "rpn_box", "class", "box", "attribute"}
    sum(losses.values()).backward()
    without_gradient = {name for name, p in model.named_parameters() if p.grad is None}
    assert without_gradient == {
        name
        for name, _ in model.named_parameters()
        if name.startswith(("trunk.conv1", "trunk.layer1", "trunk.layer2", "trunk.layer3.0.downsample"))
    }
    assert all(torch.isfinite(value) for value in losses.values())


def test_heads_start_with_the_deviation_of_the_release_and_without_biases() -> None:
    torch.manual_seed(0)
    model = small_c4()
    heads = [model.rpn, model.class_logits, model.box_deltas, model.attribute_head]
    for name, parameter in (pair for head in heads for pair in head.named_parameters()):
        if name.endswith("bias"):
            assert not parameter.any()
        else:
            assert float(parameter.detach().std()) == pytest.approx(0.01, rel=0.15), name


def test_torchvisions_weights_compute_the_same_from_the_input_of_this_network(tmp_path) -> None:
    """torchvision expects normalized RGB from 0 to 1, this network BGR from 0 to 255 minus Caffe's means."""
    net = ResNet(Bottleneck, [1, 1, 1, 1]).eval()
    with torch.no_grad():
        net.bn1.running_mean.normal_()
        net.bn1.running_var.uniform_(0.5, 2)
    torch.save(net.state_dict(), tmp_path / "resnet.pth")
    model = small_c4(pretrained=str(tmp_path / "resnet.pth"))
    image = torch.rand(3, 60, 60)
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        theirs = net.bn1(net.conv1(((image - mean) / std)[None]))
        ours = model.trunk.bn1(model.trunk.conv1((image * 255).flip(0)[None] - model.means))
    torch.testing.assert_close(ours[..., 2:-2, 2:-2], theirs[..., 2:-2, 2:-2], atol=1e-4, rtol=1e-4)
    assert torch.equal(model.trunk.layer2[0].conv2.weight, net.layer2[0].conv2.weight)


def test_an_object_that_overlaps_no_anchor_makes_no_anchor_positive() -> None:
    network = ProposalNetwork(BoxConvention.CAFFE)
    anchors = grid_anchors(network.anchors, 12, 16, 16)
    corner = torch.tensor([[0.0, 0, 3, 3]])
    assert float(BoxConvention.CAFFE.iou(anchors[_inside(anchors, 192, 256)], corner).max()) == 0
    labels, _ = network._targets(anchors, corner, (192, 256))
    assert not (labels == 1).any()


def _inside(anchors: torch.Tensor, height: int, width: int) -> torch.Tensor:
    x1, y1, x2, y2 = anchors.unbind(1)
    return (x1 >= 0) & (y1 >= 0) & (x2 < width) & (y2 < height)


def test_mirrored_boxes_cover_the_mirrored_pixels() -> None:
    """A box over the pixels 10 to 19 of 100 covers 80 to 89 when mirrored, without a shift by one pixel."""
    model, seen = small_c4(resize=Resize(min_size=100, max_size=100, rule="caffe")), []
    model._sample = lambda boxes, truth, labels: seen.append(truth) or (truth, labels, torch.arange(1))
    for x1, x2 in ((10.0, 20.0), (80.0, 90.0)):
        target = {
            "boxes": torch.tensor([[x1, 5, x2, 50]]),
            "labels": torch.tensor([1]),
            "attributes": torch.zeros(1, 3, dtype=torch.bool),
        }
        model.losses([torch.rand(3, 100, 100)], [target])
    assert seen[0][0].tolist() == [10, 5, 19, 49]
    assert seen[1][0].tolist() == [99 - 19, 5, 99 - 10, 49]


def slow_losses(model, maps, boxes, labels, matched, truth) -> tuple[float, float]:
    """Return the class and box loss of sampled regions, computed one after the other."""
    features = model.features(maps, [boxes])
    logits, deltas = model.class_logits(features), model.box_deltas(features).reshape(len(boxes), -1, 4)
    class_loss = box_loss = 0.0
    for n, label in enumerate(labels.tolist()):
        class_loss -= float(logits[n].log_softmax(0)[label])
        if label == 0:
            continue
        b, t = boxes[n].tolist(), truth[int(matched[n])].tolist()
        w, h, tw, th = b[2] - b[0] + 1, b[3] - b[1] + 1, t[2] - t[0] + 1, t[3] - t[1] + 1
        target = [
            10 * (t[0] + tw / 2 - b[0] - w / 2) / w,
            10 * (t[1] + th / 2 - b[1] - h / 2) / h,
            5 * math.log(tw / w),
            5 * math.log(th / h),
        ]
        for predicted, expected in zip(deltas[n, label].tolist(), target, strict=True):
            error = abs(predicted - expected)
            box_loss += 0.5 * error * error if error < 1 else error - 0.5
    return class_loss / len(boxes), box_loss / len(boxes)


def test_class_and_box_losses_equal_the_loop_over_regions() -> None:
    model = small_c4(resize=LARGER).train()
    image, recorded = torch.rand(3, 70, 90), {}
    sample, features = model._sample, model.features

    def recording_sample(boxes, truth, labels):
        recorded["truth"], recorded["sample"] = truth, sample(boxes, truth, labels)
        return recorded["sample"]

    def recording_features(maps, boxes):
        recorded["maps"] = maps
        return features(maps, boxes)

    model._sample, model.features = recording_sample, recording_features
    losses = model.losses([image], [target()])
    model.features = features
    boxes, labels, matched = recorded["sample"]
    with torch.no_grad():
        expected = slow_losses(model, recorded["maps"], boxes, labels, matched, recorded["truth"])
    assert float(losses["class"].detach()) == pytest.approx(expected[0], rel=1e-4)
    assert float(losses["box"].detach()) == pytest.approx(expected[1], rel=1e-3)


def test_at_most_half_of_the_sampled_regions_are_objects() -> None:
    model = small_c4()
    rng = np.random.default_rng(0)
    truth = torch.tensor([[10.0, 10, 60, 60], [70, 20, 120, 90]])
    corner = torch.from_numpy(rng.uniform(0, 90, (500, 2))).float()
    others = torch.cat([corner, corner + 20], 1)
    near = truth.repeat(40, 1) + torch.from_numpy(rng.uniform(-3, 3, (80, 4))).float()
    boxes, labels, matched = model._sample(torch.cat([others, near, truth]), truth, torch.tensor([1, 3]))
    overlap = BoxConvention.CAFFE.iou(boxes, truth)
    assert len(boxes) == 64
    assert int((labels > 0).sum()) == 32
    for n in range(64):
        best = float(overlap[n].max())
        assert (labels[n] > 0) == (best >= 0.5)
        if labels[n] > 0:
            assert labels[n] == [1, 3][int(overlap[n].argmax())]
            assert matched[n] == overlap[n].argmax()


def test_an_image_too_small_for_any_anchor_has_a_finite_loss() -> None:
    model = small_c4(resize=SMALL).train()
    losses = model.losses([torch.rand(3, 70, 90)], [target()])
    assert losses["rpn_class"] == losses["rpn_box"] == 0
    assert all(torch.isfinite(value) for value in losses.values())


def test_batch_norm_is_never_trained() -> None:
    model = small_c4().train()
    before = {n: b.clone() for n, b in model.named_buffers()}
    model.losses([torch.rand(3, 70, 90)], [target()])
    assert all(torch.equal(before[n], b) for n, b in model.named_buffers())
    assert not [n for n, _ in model.named_parameters() if ".bn" in n or "downsample.1" in n]


def test_a_few_steps_of_training_lower_the_loss() -> None:
    torch.manual_seed(3)
    model = small_c4(frozen_stages=3, resize=LARGER, dilated=False, pool_size=7).train()
    image = torch.rand(3, 70, 90)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 3e-4, momentum=0.9)
    history = []
    for _ in range(9):
        optimizer.zero_grad()
        loss = sum(model.losses([image], [target()]).values())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
        history.append(float(loss.detach()))
    assert np.mean(history[-3:]) < 0.5 * np.mean(history[:3])


def test_anchor_targets_equal_the_loop_over_anchors() -> None:
    network = ProposalNetwork(BoxConvention.CAFFE)
    anchors = grid_anchors(network.anchors, 6, 8, 16)
    truth = torch.tensor([[4.0, 4, 60, 60], [30, 10, 120, 90], [70, 70, 90, 90]])
    labels, matched = network._targets(anchors, truth, (96, 128))
    inside = [
        n
        for n, (x1, y1, x2, y2) in enumerate(anchors.tolist())
        if x1 >= 0 and y1 >= 0 and x2 < 128 and y2 < 96
    ]
    overlap = BoxConvention.CAFFE.iou(anchors, truth)
    best = [max(float(overlap[n, g]) for n in inside) for g in range(3)]
    for n in range(len(anchors)):
        if n not in inside:
            assert labels[n] == -1
            continue
        top = float(overlap[n].max())
        tied = any(float(overlap[n, g]) == best[g] and best[g] > 0 for g in range(3))
        expected = 1 if top >= 0.7 or tied else 0 if top < 0.3 else -1
        assert labels[n] == expected
        if expected == 1 and top >= 0.7:
            assert matched[n] == overlap[n].argmax()
    assert (labels == 1).any()
