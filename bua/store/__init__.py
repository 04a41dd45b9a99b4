"""The feature store: regions of many images in one HDF5 file."""

from bua.store.reader import FeatureStore, ImageId, Padded
from bua.store.schema import About
from bua.store.writer import StoreWriter
from bua.structures.regions import Regions

__all__ = ["About", "FeatureStore", "ImageId", "Padded", "Regions", "StoreWriter"]
