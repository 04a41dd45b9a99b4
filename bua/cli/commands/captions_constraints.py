"""``bua captions constraints``: turn detected objects into words that captions must contain."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from bua.cli.options import POSITIVE
from bua.cli.outputs import write_json
from bua.data.captions.constraints import singular_and_plural, store_constraints
from bua.data.image_lookup import read_ids
from bua.io.write import write_text
from bua.store.reader import FeatureStore

log = logging.getLogger(__name__)


@dataclass
class Options:
    """Keys of the command, described in conf/captions_constraints.yaml."""

    features: str
    out: str
    max_constraints: int = field(metadata=POSITIVE)
    score_threshold: float
    extra_words: str | None
    exclude: list[str]
    ids: str | None


def main(options: Options) -> None:
    """Write the constraints of every image of a feature store."""
    store = FeatureStore(options.features)
    ids = None
    if options.ids is not None:
        ids = read_ids(options.ids)
        store.require_images(ids, options.ids)
    constraints = store_constraints(
        store,
        ids,
        max_constraints=options.max_constraints,
        threshold=options.score_threshold,
        exclude=options.exclude,
    )
    if options.extra_words is not None:
        lines = [form for entry in store.metadata.class_names for form in singular_and_plural(entry)]
        write_text(Path(options.extra_words), "".join(f"{line}\n" for line in lines))
        log.info(f"{options.extra_words}: {len(lines):,} words")
    count = sum(map(len, constraints.values()))
    write_json(options.out, constraints, f"{count:,} constraints of {len(constraints):,} images", indent=None)
