"""The feature store: the region features of many images in one HDF5 file."""

from bua.store.feature_writer import FeatureWriter
from bua.store.reader import FeatureStore, PaddedRegions
from bua.store.schema import StoreMetadata
from bua.store.writer import StoreWriter
from bua.structures.annotations import ImageId
from bua.structures.regions import Regions

__all__ = [
    "StoreMetadata",
    "FeatureStore",
    "FeatureWriter",
    "ImageId",
    "PaddedRegions",
    "Regions",
    "StoreWriter",
]
