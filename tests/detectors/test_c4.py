"""Each part of the paper's detector against a reference written from its formulas."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.detectors.boxes import BoxConvention
from bua.detectors.c4.rpn import ProposalNetwork, ProposalOptions, base_anchors, grid_anchors
from bua.detectors.c4.trunk import Trunk
from bua.detectors.photo import Resize
from tests.helpers.detectors import SMALL, slow_decode, slow_nms, small_c4


def test_base_anchors_equal_those_of_the_release() -> None:
    assert base_anchors().tolist() == [
        *([-38, -16, 53, 31], [-84, -40, 99, 55], [-176, -88, 191, 103], [-360, -184, 375, 199]),
        *([-24, -24, 39, 39], [-56, -56, 71, 71], [-120, -120, 135, 135], [-248, -248, 263, 263]),
        *([-14, -36, 29, 51], [-36, -80, 51, 95], [-80, -168, 95, 183], [-168, -344, 183, 359]),
    ]


def test_grid_anchors_are_shifted_by_whole_strides_row_by_row() -> None:
    base = torch.tensor([[0.0, 0, 1, 1], [5, 5, 6, 7]])
    expected = [
        (base + torch.tensor([x * 16, y * 16, x * 16, y * 16])).tolist() for y in range(2) for x in range(3)
    ]
    assert grid_anchors(base, 2, 3, 16).reshape(6, 2, 4).tolist() == expected


def slow_map_side(side: int) -> int:
    """Return Caffe's size of the map: convolutions round down, the pooling of the stem rounds up."""
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


def test_strides_are_in_the_first_convolution_and_the_last_stage_is_dilated() -> None:
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
    model = small_c4()
    maps = torch.rand(1, 1024, 5, 7)
    box = torch.tensor([[10.0, 3, 77, 61]])
    with torch.no_grad():
        pooled = torch.from_numpy(slow_roi_pool(maps[0].numpy(), box[0].tolist(), 14))
        expected = model.trunk.layer4(pooled[None]).mean((2, 3))
        ours = model.features(maps, [box])
    torch.testing.assert_close(ours, expected)


def slow_proposals(scores, deltas, anchors, size, scale, options, convention) -> list[list[float]]:
    """The proposal layer, one anchor after the other."""
    found = []
    for n, (anchor, delta, (background, foreground)) in enumerate(zip(anchors, deltas, scores, strict=True)):
        x1, y1, x2, y2 = slow_decode(anchor, delta, convention.offset, (1, 1, 1, 1), options.max_log_scale)
        right, bottom = size[1] - convention.offset, size[0] - convention.offset
        x1, x2 = min(max(x1, 0), right), min(max(x2, 0), right)
        y1, y2 = min(max(y1, 0), bottom), min(max(y2, 0), bottom)
        w, h = x2 - x1 + convention.offset, y2 - y1 + convention.offset
        probability = 1 / (1 + math.exp(background - foreground))
        found.append((probability, n, [x1, y1, x2, y2], w, h))
    min_side = options.min_side * scale
    if min_side:
        found = [f for f in found if f[3] >= min_side and f[4] >= min_side]
    found = sorted(found, key=lambda f: -f[0])[: options.pre_nms_top_n]
    found = [f for f in found if f[3] > 0 and f[4] > 0]
    boxes = np.array([f[2] for f in found], np.float32).reshape(-1, 4)
    kept = slow_nms(
        boxes, [f[0] for f in found], options.nms_iou, np.float32(convention.offset), convention.inclusive
    )
    return [found[k][2] for k in kept[: options.post_nms_top_n]]


@pytest.mark.parametrize("convention", [BoxConvention.CAFFE, BoxConvention.MODERN], ids=lambda c: c.name)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), min_side=st.sampled_from([0.0, 16.0]))
def test_proposals_equal_the_loop_over_anchors(convention, seed, min_side) -> None:
    rng = np.random.default_rng(seed)
    network = ProposalNetwork(convention)
    anchors = grid_anchors(network.anchors, 3, 4, 16)
    scores = torch.from_numpy(rng.standard_normal((len(anchors), 2))).float()
    deltas = torch.from_numpy(rng.normal(0, 0.3, (len(anchors), 4))).float()
    options = ProposalOptions(
        pre_nms_top_n=60, post_nms_top_n=12, nms_iou=0.7, min_side=min_side, max_log_scale=None
    )
    ours, logits = network.propose(scores, deltas, anchors, size=(48, 64), scale=1.5, options=options)
    arrays = scores.tolist(), deltas.tolist(), anchors.tolist()
    slow = slow_proposals(*arrays, (48, 64), 1.5, options, convention)
    np.testing.assert_allclose(ours, np.array(slow).reshape(-1, 4), atol=1e-3)
    assert logits.tolist() == sorted(logits.tolist(), reverse=True)


def test_scores_deltas_and_anchors_of_a_cell_belong_together() -> None:
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


def test_channels_are_blue_green_red_minus_caffes_means() -> None:
    model, seen = small_c4(), {}
    model.trunk.map = lambda images: seen.setdefault("images", images)
    model.map(torch.tensor([10.0, 20.0, 30.0]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2))
    expected = [30 - 102.9801, 20 - 115.9465, 10 - 122.7717]
    np.testing.assert_allclose(seen["images"][0, :, 0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (12, 9)])
def test_every_image_has_a_region_even_one_too_small_for_proposals(size) -> None:
    model = small_c4()
    prepared = Resize(min_size=600, max_size=1000, rule="caffe").prepare(np.full((*size, 3), 99, np.uint8))
    with torch.no_grad():
        found = model.propose(prepared.pixels[None], [prepared.geometry], [None])[0]
    assert len(found) >= 1
    boxes = found.original_boxes
    assert (boxes >= -1e-3).all()
    assert (boxes[:, 2] <= size[1]).all()
    if min(size) < 16:  # the least side of a proposal
        assert len(found) == 1


def test_images_of_a_batch_do_not_affect_each_other() -> None:
    model = small_c4()
    rng = np.random.default_rng(1)
    images = [SMALL.prepare(rng.integers(0, 255, (70, 90, 3), np.uint8)) for _ in range(3)]
    with torch.no_grad():
        pixels, geometries = torch.stack([i.pixels for i in images]), [i.geometry for i in images]
        batch = model.propose(pixels, geometries, [None] * 3)
        for image, found in zip(images, batch, strict=True):
            alone = model.propose(image.pixels[None], [image.geometry], [None])[0]
            torch.testing.assert_close(alone.boxes, found.boxes, atol=3e-2, rtol=1e-3)
            torch.testing.assert_close(alone.features, found.features, atol=1e-4, rtol=1e-3)


def test_given_boxes_keep_their_order() -> None:
    model = small_c4()
    prepared = SMALL.prepare(np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8))
    boxes = torch.tensor([[5.0, 5, 60, 60], [0, 0, 89, 69], [20, 10, 40, 66]])
    with torch.no_grad():
        found, other = (
            model.propose(prepared.pixels[None], [prepared.geometry], [b])[0] for b in (boxes, boxes.flip(0))
        )
    torch.testing.assert_close(found.original_boxes, boxes)
    torch.testing.assert_close(found.features, other.features.flip(0))
