"""``bua captions constraints``: detected objects as words that captions must contain."""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

from bua.cli.main import POSITIVE
from bua.data.captions.constraints import detected_constraints, singular_and_plural
from bua.data.image_lookup import read_ids
from bua.errors import InputError
from bua.io.files import write_text
from bua.store.reader import FeatureStore

log = logging.getLogger(__name__)


@dataclass
class Options:
    """Keys of the command, described in conf/captions_constraints.yaml."""

    features: str
    out: str
    max_constraints: int = field(metadata=POSITIVE)
    threshold: float
    words: str | None
    exclude: list[str]
    ids: str | None


def main(options: Options) -> None:
    """Write the constraints of every image of a feature store."""
    store = FeatureStore(options.features)
    names = store.metadata.class_names
    if not names or store[store.image_ids[0]].class_id is None:
        raise InputError(f"{store.path}: has no named classes; extract with a detector that has them")
    exclude = frozenset(name.lower() for name in options.exclude)
    unknown = sorted(exclude - {name.lower() for entry in names for name in entry.split(",")})
    if unknown:
        raise InputError(f"exclude={unknown[0]}: {store.path} has no such class")
    ids = read_ids(options.ids) if options.ids is not None else store.image_ids
    store.require_images(ids, str(options.ids))
    constraints = {
        str(i): detected_constraints(
            store[i],
            names,
            max_constraints=options.max_constraints,
            threshold=options.threshold,
            exclude=exclude,
        )
        for i in ids
    }
    write_text(Path(options.out), json.dumps(constraints, ensure_ascii=False))
    if options.words is not None:
        lines = [form for entry in names for form in singular_and_plural(entry)]
        write_text(Path(options.words), "".join(f"{line}\n" for line in lines))
    count = sum(map(len, constraints.values()))
    log.info(f"{options.out}: {count:,} constraints of {len(constraints):,} images")
