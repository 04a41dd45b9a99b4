"""Regions of a store become batches of features and relative boxes."""

import pickle

import numpy as np
import pytest
import torch

from bua.data.image_lookup import RegionInput
from bua.errors import InputError
from bua.store import FeatureStore
from bua.store.schema import checksummed_columns
from tests.helpers.stores import regions, write_store


@pytest.fixture
def store(tmp_path):
    return write_store(
        tmp_path / "f.h5", {7: regions(3, seed=1), 8: regions(5, seed=2), 9: regions(1, seed=3)}
    )


def corrupted(path, column: str, image: int, value: float) -> FeatureStore:
    """Overwrite one number of an image in the file, and return the store."""
    begin, _ = checksummed_columns(path)[column]
    row = {7: 0, 8: 3, 9: 8}[image]
    dtype, width = (np.float16, 6) if column == "features" else (np.float32, 4)
    content = bytearray(path.read_bytes())
    offset = begin + row * width * np.dtype(dtype).itemsize
    content[offset : offset + np.dtype(dtype).itemsize] = dtype(value).tobytes()
    path.write_bytes(content)
    return FeatureStore(path)


def test_boxes_are_relative_to_the_image_and_padding_is_zero(store) -> None:
    batch = RegionInput(None).load(FeatureStore(store), [9, 8])
    assert batch.mask.tolist() == [[True] + 4 * [False], 5 * [True]]
    np.testing.assert_allclose(batch.boxes[1], regions(5, seed=2).boxes / 50, rtol=1e-6)
    np.testing.assert_array_equal(batch.features[1], regions(5, seed=2).features)
    assert not batch.boxes[0, 1:].any()
    assert not batch.features[0, 1:].any()
    assert batch.features.dtype == torch.float32


def test_geometry_is_appended_to_features_and_leaves_boxes_unchanged(store) -> None:
    plain, extended = (RegionInput(g).load(FeatureStore(store), [7]) for g in (None, 3.0))
    assert extended.boxes.equal(plain.boxes)
    torch.testing.assert_close(extended.features[..., 6:10], 3 * plain.boxes)


def test_batches_can_be_moved_and_pickled(store) -> None:
    batch = RegionInput(None).load(FeatureStore(store), [7, 8])
    for copy in (batch.to("cpu"), pickle.loads(pickle.dumps(batch))):  # noqa: S301
        assert type(copy) is type(batch)
        assert all(a.equal(b) for a, b in zip(copy, batch, strict=True))


@pytest.mark.parametrize("column", ["features", "boxes"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_reported_with_file_and_image(
    store, column: str, value: float
) -> None:
    broken = corrupted(store, column, 8, value)
    with pytest.raises(InputError, match=r"f\.h5: features or boxes of image 8 are not all finite"):
        RegionInput(None).load(broken, [7, 8, 9])
    assert RegionInput(None).load(broken, [7, 9]).features.isfinite().all()


def test_large_values_are_accepted_although_their_sum_overflows(tmp_path) -> None:
    large = regions(3)
    large.features[:] = 65504
    store = FeatureStore(write_store(tmp_path / "f.h5", {1: large}))
    padded = store.padded([1])
    huge = type(padded)(np.full((1, 3, 6), 3e38, np.float32), padded.boxes, padded.mask, padded.size)
    store.padded = lambda ids: huge
    assert RegionInput(None).load(store, [1]).features.max() == np.float32(3e38)
