"""``bua features info``: what a feature file holds."""

import json
from pathlib import Path
from typing import Any

from bua.store.reader import FeatureStore


def main(config: Any) -> None:
    """Print a summary as JSON."""
    path = Path(config.file)
    store = FeatureStore(path)
    counts = store.counts()
    about = store.about
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
                "classes": len(about.class_names),
                "attributes": len(about.attribute_names),
                **about.identity,
                "grid": about.grid,
                "origin": dict(about.origin),
                "versions": dict(about.versions),
                "created": about.created,
            },
            indent=1,
        )
    )
