"""``bua captions constraints``: what a detector saw, as words that captions must say."""

import json
import logging
from pathlib import Path
from typing import Any

from bua.data.captions.constraints import detected_constraints, singular_and_plural
from bua.data.captions.files import read_ids
from bua.errors import InputError
from bua.io.atomic import write_text
from bua.store.reader import FeatureStore

log = logging.getLogger(__name__)


def main(config: Any) -> None:
    """Write the constraints of every image of a feature store."""
    store = FeatureStore(config.features)
    names = store.metadata.class_names
    if not names or store[store.image_ids[0]].class_id is None:
        raise InputError(
            f"{store.path}: there are no named classes in it; extract with a detector that has them"
        )
    without = frozenset(name.lower() for name in config.without)
    unknown = sorted(without - {name.lower() for entry in names for name in entry.split(",")})
    if unknown:
        raise InputError(f"without={unknown[0]}: {store.path} has no such class")
    ids = read_ids(config.ids) if config.ids is not None else store.image_ids
    store.require(ids, str(config.ids))
    options = {"most": config.most, "threshold": config.threshold, "without": without}
    found = {str(i): detected_constraints(store[i], names, **options) for i in ids}
    write_text(Path(config.out), json.dumps(found, ensure_ascii=False))
    if config.words is not None:
        lines = [form for entry in names for form in singular_and_plural(entry)]
        write_text(Path(config.words), "".join(f"{line}\n" for line in lines))
    count = sum(map(len, found.values()))
    log.info(f"{config.out}: {count:,} constraints of {len(found):,} images")
