"""Each piece of the paper's detector against a reference written from its formulas."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.resnet import Bottleneck, ResNet

from bua.regions.boxes import BoxConvention
from bua.regions.c4.anchors import base_anchors, grid_anchors
from bua.regions.c4.model import C4RCNN
from bua.regions.c4.rpn import ProposalNetwork, ProposalRule
from bua.regions.c4.trunk import Trunk
from bua.regions.resize import Resize
from tests.regions.test_boxes import slow_decode, slow_nms

SMALL, LARGER = (Resize(side=side, longest=2 * side, rule="caffe") for side in (64, 160))


def small(**options) -> C4RCNN:
    """A detector of the true widths with one block a stage."""
    torch.manual_seed(0)
    more = {"blocks": (1, 1, 1, 1), "proposals": 20, "resize": SMALL} | options
    return C4RCNN(classes=["a", "b", "c"], attributes=["x", "y"], **more).eval()


def test_base_anchors_are_those_of_the_release() -> None:
    assert base_anchors().tolist() == [
        *([-38, -16, 53, 31], [-84, -40, 99, 55], [-176, -88, 191, 103], [-360, -184, 375, 199]),
        *([-24, -24, 39, 39], [-56, -56, 71, 71], [-120, -120, 135, 135], [-248, -248, 263, 263]),
        *([-14, -36, 29, 51], [-36, -80, 51, 95], [-80, -168, 95, 183], [-168, -344, 183, 359]),
    ]


def test_grid_anchors_move_by_whole_strides_row_by_row() -> None:
    base = torch.tensor([[0.0, 0, 1, 1], [5, 5, 6, 7]])
    expected = [
        (base + torch.tensor([x * 16, y * 16, x * 16, y * 16])).tolist() for y in range(2) for x in range(3)
    ]
    assert grid_anchors(base, 2, 3, 16).reshape(6, 2, 4).tolist() == expected


def slow_map_side(side: int) -> int:
    """Caffe's sizes: convolutions round down, the pooling of the stem rounds up."""
    conv = (side + 2 * 3 - 7) // 2 + 1
    pool = math.ceil((conv - 3) / 2) + 1
    half = (pool - 1) // 2 + 1
    return (half - 1) // 2 + 1


@pytest.mark.parametrize("size", [(203, 271), (64, 107), (65, 66), (67, 101), (33, 48), (600, 37)])
def test_the_map_has_caffes_size_for_odd_images(size) -> None:
    trunk = Trunk(blocks=(1, 1, 1, 1), dilated=True).eval()
    with torch.no_grad():
        maps = trunk.map(torch.zeros(1, 3, *size))
    assert maps.shape == (1, 1024, slow_map_side(size[0]), slow_map_side(size[1]))


def test_the_stem_pools_without_padding_and_rounds_up() -> None:
    maps = torch.arange(36.0).reshape(1, 1, 6, 6)
    pooled = Trunk(blocks=(1, 1, 1, 1), dilated=True).maxpool(maps)
    expected = [
        [
            max(maps[0, 0, y, x] for y in range(a, min(a + 3, 6)) for x in range(b, min(b + 3, 6)))
            for b in (0, 2, 4)
        ]
        for a in (0, 2, 4)
    ]
    assert pooled[0, 0].tolist() == torch.tensor(expected).tolist()


def test_strides_lie_in_the_first_convolution_and_the_last_stage_dilates() -> None:
    trunk = Trunk(blocks=(3, 4, 23, 3), dilated=True)
    for stage in (trunk.layer2, trunk.layer3):
        assert (stage[0].conv1.stride, stage[0].conv2.stride) == ((2, 2), (1, 1))
        assert stage[0].downsample[0].stride == (2, 2)
    for block in trunk.layer4:
        assert (block.conv1.stride, block.conv2.stride) == ((1, 1), (1, 1))
        assert (block.conv2.dilation, block.conv2.padding) == ((2, 2), (2, 2))
    assert trunk.layer4[0].downsample[0].stride == (1, 1)
    assert [len(s) for s in (trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4)] == [3, 4, 23, 3]
    assert Trunk(blocks=(1, 1, 1, 1), dilated=False).layer4[0].conv1.stride == (2, 2)


def slow_roi_pool(maps: np.ndarray, box, size: int) -> np.ndarray:
    """Caffe's RoIPooling: rounded corners, bins from floor to ceil, maxima, empty bins 0."""

    def rounded(value: float) -> int:
        return math.floor(value / 16 + 0.5)

    channels, height, width = maps.shape
    x1, y1, x2, y2 = (rounded(v) for v in box)
    w, h = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
    out = np.zeros((channels, size, size), np.float32)
    for i in range(size):
        for j in range(size):
            top, bottom = math.floor(i * h / size) + y1, math.ceil((i + 1) * h / size) + y1
            left, right = math.floor(j * w / size) + x1, math.ceil((j + 1) * w / size) + x1
            top, bottom = (min(max(v, 0), height) for v in (top, bottom))
            left, right = (min(max(v, 0), width) for v in (left, right))
            if top < bottom and left < right:
                out[:, i, j] = maps[:, top:bottom, left:right].max((1, 2))
    return out


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_regions_are_pooled_as_caffe_pools_them(seed) -> None:
    from torchvision.ops import roi_pool

    rng = np.random.default_rng(seed)
    maps = rng.standard_normal((3, 9, 12)).astype(np.float32)
    corner = rng.uniform(0, 120, 2)
    box = np.concatenate([corner, corner + rng.uniform(0, 120, 2)]).astype(np.float32)
    ours = roi_pool(torch.from_numpy(maps)[None], [torch.from_numpy(box)[None]], 14, 1 / 16)
    np.testing.assert_array_equal(ours[0], slow_roi_pool(maps, box, 14))


def test_a_region_feature_is_the_mean_of_the_last_stage_over_its_pooled_map() -> None:
    model = small()
    maps = torch.rand(1, 1024, 5, 7)
    box = torch.tensor([[10.0, 3, 77, 61]])
    with torch.no_grad():
        pooled = torch.from_numpy(slow_roi_pool(maps[0].numpy(), box[0].tolist(), 14))
        expected = model.trunk.layer4(pooled[None]).mean((2, 3))
        ours = model.features(maps, [box])
    torch.testing.assert_close(ours, expected)


def slow_proposals(scores, deltas, anchors, size, scale, rule, convention) -> list[list[float]]:
    """The proposal layer, one anchor after the other."""
    found = []
    for n, (anchor, delta, (background, thing)) in enumerate(zip(anchors, deltas, scores, strict=True)):
        x1, y1, x2, y2 = slow_decode(anchor, delta, convention.pixel, (1, 1, 1, 1), rule.limit)
        right, bottom = size[1] - convention.pixel, size[0] - convention.pixel
        x1, x2 = min(max(x1, 0), right), min(max(x2, 0), right)
        y1, y2 = min(max(y1, 0), bottom), min(max(y2, 0), bottom)
        w, h = x2 - x1 + convention.pixel, y2 - y1 + convention.pixel
        probability = 1 / (1 + math.exp(background - thing))
        found.append((probability, n, [x1, y1, x2, y2], w, h))
    least = rule.min_side * scale
    if least:
        found = [f for f in found if f[3] >= least and f[4] >= least]
    found = sorted(found, key=lambda f: -f[0])[: rule.before]
    found = [f for f in found if f[3] > 0 and f[4] > 0]
    boxes = np.array([f[2] for f in found], np.float32).reshape(-1, 4)
    kept = slow_nms(
        boxes, [f[0] for f in found], rule.nms_iou, np.float32(convention.pixel), convention.inclusive
    )
    return [found[k][2] for k in kept[: rule.after]]


@pytest.mark.parametrize("convention", [BoxConvention.CAFFE, BoxConvention.MODERN], ids=lambda c: c.name)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), min_side=st.sampled_from([0.0, 16.0]))
def test_proposals_equal_the_loop_over_anchors(convention, seed, min_side) -> None:
    rng = np.random.default_rng(seed)
    network = ProposalNetwork(convention)
    anchors = grid_anchors(network.anchors, 3, 4, 16)
    scores = torch.from_numpy(rng.standard_normal((len(anchors), 2))).float()
    deltas = torch.from_numpy(rng.normal(0, 0.3, (len(anchors), 4))).float()
    rule = ProposalRule(before=60, after=12, nms_iou=0.7, min_side=min_side, limit=None)
    ours, logits = network.propose(scores, deltas, anchors, size=(48, 64), scale=1.5, rule=rule)
    slow = slow_proposals(scores.tolist(), deltas.tolist(), anchors.tolist(), (48, 64), 1.5, rule, convention)
    np.testing.assert_allclose(ours, np.array(slow).reshape(-1, 4), atol=1e-3)
    assert logits.tolist() == sorted(logits.tolist(), reverse=True)


def test_scores_deltas_and_anchors_of_a_cell_stay_together() -> None:
    network = ProposalNetwork(BoxConvention.CAFFE)
    with torch.no_grad():
        network.conv.weight.zero_()
        network.conv.bias.fill_(1.0)
        network.scores.weight.zero_()
        network.deltas.weight.zero_()
        network.scores.bias.copy_(torch.arange(24.0))
        network.deltas.bias.copy_(torch.arange(48.0))
    scores, deltas, anchors = network(torch.zeros(1, 1024, 2, 3))
    assert scores.shape == (72, 2)
    for n in range(72):
        a = n % 12
        assert scores[n].tolist() == [a, 12 + a]
        assert deltas[n].tolist() == [4 * a, 4 * a + 1, 4 * a + 2, 4 * a + 3]
    assert (anchors[12:24] - anchors[:12]).tolist() == [[16, 0, 16, 0]] * 12


def test_colours_are_blue_green_red_minus_caffes_means() -> None:
    model, seen = small(), {}
    model.trunk.map = lambda images: seen.setdefault("images", images)
    model.map(torch.tensor([10.0, 20.0, 30.0]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2))
    expected = [30 - 102.9801, 20 - 115.9465, 10 - 122.7717]
    np.testing.assert_allclose(seen["images"][0, :, 0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (12, 9)])
def test_every_photograph_has_a_region_even_one_too_small_for_proposals(size) -> None:
    model = small()
    prepared = Resize(side=600, longest=1000, rule="caffe").prepare(np.full((*size, 3), 99, np.uint8))
    with torch.no_grad():
        found = model.propose(prepared.pixels[None], [prepared.frame], [None])[0]
    assert len(found) >= 1
    boxes = found.photo_boxes
    assert (boxes >= -1e-3).all()
    assert (boxes[:, 2] <= size[1]).all()
    if min(size) < 16:  # Caffe's least side of a proposal
        assert len(found) == 1


def test_images_of_a_batch_do_not_change_each_other() -> None:
    model = small()
    rng = np.random.default_rng(1)
    images = [SMALL.prepare(rng.integers(0, 255, (70, 90, 3), np.uint8)) for _ in range(3)]
    with torch.no_grad():
        together = model.propose(
            torch.stack([i.pixels for i in images]), [i.frame for i in images], [None] * 3
        )
        for image, found in zip(images, together, strict=True):
            alone = model.propose(image.pixels[None], [image.frame], [None])[0]
            torch.testing.assert_close(alone.boxes, found.boxes, atol=3e-2, rtol=1e-3)
            torch.testing.assert_close(alone.features, found.features, atol=1e-4, rtol=1e-3)


def test_given_boxes_are_described_in_their_order() -> None:
    model = small()
    prepared = SMALL.prepare(np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8))
    boxes = torch.tensor([[5.0, 5, 60, 60], [0, 0, 89, 69], [20, 10, 40, 66]])
    with torch.no_grad():
        found, other = (
            model.propose(prepared.pixels[None], [prepared.frame], [b])[0] for b in (boxes, boxes.flip(0))
        )
    torch.testing.assert_close(found.photo_boxes, boxes)
    torch.testing.assert_close(found.features, other.features.flip(0))


def target() -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.tensor([[4.0, 4, 40, 40], [30, 10, 80, 60]]),
        "labels": torch.tensor([1, 3]),
        "attributes": torch.tensor([[False, True, True], [False, False, True]]),
    }


def test_training_reaches_every_part_that_is_not_frozen() -> None:
    model = small(frozen_stages=3, resize=LARGER).train()
    losses = model.losses([torch.rand(3, 70, 90)], [target()])
    assert set(losses) == {"rpn_class", "rpn_box", "class", "box", "attribute"}
    sum(losses.values()).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert without == {
        name
        for name, _ in model.named_parameters()
        if name.startswith(("trunk.conv1", "trunk.layer1", "trunk.layer2", "trunk.layer3.0.downsample"))
    }
    assert all(torch.isfinite(value) for value in losses.values())


def test_torchvisions_weights_compute_the_same_from_what_this_network_sees(tmp_path) -> None:
    """Red first, from 0 to 1 and normed there; blue first, from 0 to 255 less Caffe's means here."""
    net = ResNet(Bottleneck, [1, 1, 1, 1]).eval()
    with torch.no_grad():
        net.bn1.running_mean.normal_()
        net.bn1.running_var.uniform_(0.5, 2)
    torch.save(net.state_dict(), tmp_path / "resnet.pth")
    model = small(pretrained=str(tmp_path / "resnet.pth"))
    image = torch.rand(3, 60, 60)
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        theirs = net.bn1(net.conv1(((image - mean) / std)[None]))
        ours = model.trunk.bn1(model.trunk.conv1((image * 255).flip(0)[None] - model.means))
    torch.testing.assert_close(ours[..., 2:-2, 2:-2], theirs[..., 2:-2, 2:-2], atol=1e-4, rtol=1e-4)
    assert torch.equal(model.trunk.layer2[0].conv2.weight, net.layer2[0].conv2.weight)


def test_a_thing_that_no_anchor_meets_makes_no_anchor_a_thing() -> None:
    network = ProposalNetwork(BoxConvention.CAFFE)
    anchors = grid_anchors(network.anchors, 12, 16, 16)
    corner = torch.tensor([[0.0, 0, 3, 3]])
    assert float(BoxConvention.CAFFE.iou(anchors[_inside(anchors, 192, 256)], corner).max()) == 0
    labels, _ = network._targets(anchors, corner, (192, 256))
    assert not (labels == 1).any()


def _inside(anchors: torch.Tensor, height: int, width: int) -> torch.Tensor:
    x1, y1, x2, y2 = anchors.unbind(1)
    return (x1 >= 0) & (y1 >= 0) & (x2 < width) & (y2 < height)


def test_mirrored_boxes_are_the_mirror_of_the_boxes() -> None:
    """A box of pixels 10 to 19 of 100 is one of 80 to 89 when mirrored: nothing moves by a pixel."""
    model, seen = small(resize=Resize(side=100, longest=100, rule="caffe")), []
    model._sample = lambda boxes, truth, labels: seen.append(truth) or (truth, labels, torch.arange(1))
    for x1, x2 in ((10.0, 20.0), (80.0, 90.0)):
        one = {
            "boxes": torch.tensor([[x1, 5, x2, 50]]),
            "labels": torch.tensor([1]),
            "attributes": torch.zeros(1, 3, dtype=torch.bool),
        }
        model.losses([torch.rand(3, 100, 100)], [one])
    assert seen[0][0].tolist() == [10, 5, 19, 49]
    assert seen[1][0].tolist() == [99 - 19, 5, 99 - 10, 49]


def slow_losses(model, maps, boxes, labels, matched, truth) -> tuple[float, float]:
    """Class and box loss of sampled regions, one after the other."""
    features = model.features(maps, [boxes])
    logits, deltas = model.class_logits(features), model.box_deltas(features).reshape(len(boxes), -1, 4)
    class_loss = box_loss = 0.0
    for n, label in enumerate(labels.tolist()):
        class_loss -= float(logits[n].log_softmax(0)[label])
        if label == 0:
            continue
        b, t = boxes[n].tolist(), truth[int(matched[n])].tolist()
        w, h, tw, th = b[2] - b[0] + 1, b[3] - b[1] + 1, t[2] - t[0] + 1, t[3] - t[1] + 1
        wanted = [
            10 * (t[0] + tw / 2 - b[0] - w / 2) / w,
            10 * (t[1] + th / 2 - b[1] - h / 2) / h,
            5 * math.log(tw / w),
            5 * math.log(th / h),
        ]
        for guess, right in zip(deltas[n, label].tolist(), wanted, strict=True):
            gap = abs(guess - right)
            box_loss += 0.5 * gap * gap if gap < 1 else gap - 0.5
    return class_loss / len(boxes), box_loss / len(boxes)


def test_class_and_box_losses_equal_the_loop_over_regions() -> None:
    model = small(resize=LARGER).train()
    image, kept = torch.rand(3, 70, 90), {}
    sample, features = model._sample, model.features

    def noted(boxes, truth, labels):
        kept["truth"], kept["sample"] = truth, sample(boxes, truth, labels)
        return kept["sample"]

    model._sample = noted
    model.features = lambda maps, boxes: kept.setdefault(
        "features", features(kept.setdefault("maps", maps), boxes)
    )
    losses = model.losses([image], [target()])
    model.features = features
    boxes, labels, matched = kept["sample"]
    with torch.no_grad():
        expected = slow_losses(model, kept["maps"], boxes, labels, matched, kept["truth"])
    assert float(losses["class"].detach()) == pytest.approx(expected[0], rel=1e-4)
    assert float(losses["box"].detach()) == pytest.approx(expected[1], rel=1e-3)


def test_sampled_regions_are_at_most_half_things_and_true_boxes_are_among_the_candidates() -> None:
    model = small()
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


def test_an_image_too_small_for_any_anchor_has_a_loss_that_is_a_number() -> None:
    model = small(resize=SMALL).train()
    losses = model.losses([torch.rand(3, 70, 90)], [target()])
    assert losses["rpn_class"] == losses["rpn_box"] == 0
    assert all(torch.isfinite(value) for value in losses.values())


def test_batch_norm_never_learns() -> None:
    model = small().train()
    before = {n: b.clone() for n, b in model.named_buffers()}
    model.losses([torch.rand(3, 70, 90)], [target()])
    assert all(torch.equal(before[n], b) for n, b in model.named_buffers())
    assert not [n for n, _ in model.named_parameters() if ".bn" in n or "downsample.1" in n]


def test_a_few_steps_of_training_lower_the_loss() -> None:
    torch.manual_seed(3)
    model = small(frozen_stages=3, resize=LARGER, dilated=False, pool_size=7).train()
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
