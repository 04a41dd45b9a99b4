"""``bua features info``: summarize a feature file."""

import json
from dataclasses import dataclass
from pathlib import Path

from bua.store.reader import FeatureStore


@dataclass
class Options:
    """Keys of the command, described in conf/features_info.yaml."""

    file: str


def main(options: Options) -> None:
    """Print a summary of a store as JSON."""
    path = Path(options.file)
    store = FeatureStore(path)
    counts = store.counts()
    metadata = store.metadata
    print(
        json.dumps(
            {
                "file": str(path),
                "bytes": path.stat().st_size,
                "images": len(store),
                "regions": int(counts.sum()),
                "regions_per_image": [int(counts.min()), round(float(counts.mean()), 2), int(counts.max())],
                "feature_size": store.feature_size,
                "dtype": str(store[store.image_ids[0]].features.dtype),
                "columns": list(store[store.image_ids[0]].arrays()),
                "classes": len(metadata.class_names),
                "attributes": len(metadata.attribute_names),
                **metadata.identity,
                "grid": metadata.grid,
                "origin": dict(metadata.origin),
                "versions": dict(metadata.versions),
                "created": metadata.created,
            },
            indent=1,
        )
    )
