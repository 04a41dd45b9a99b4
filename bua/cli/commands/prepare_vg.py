"""``bua prepare-vg``: convert Visual Genome to COCO instances with attributes."""

import json
import logging
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path

from bua.cli.options import NOT_NEGATIVE, POSITIVE
from bua.data.genome.prepare import GenomeOptions, preparation_provenance, prepare_genome
from bua.io.write import write_text

log = logging.getLogger(__name__)
#: Maximum number of missing photos to name on stderr.
MAX_PROBLEMS = 10


@dataclass
class Options:
    """Keys of the command, described in conf/prepare_vg.yaml."""

    source: str
    out: str
    captions: str | None
    images: str | None
    classes: str | None
    attributes: str | None
    top_classes: int = field(metadata=POSITIVE)
    top_attributes: int = field(metadata=POSITIVE)
    count: str
    max_attributes: int = field(metadata=POSITIVE)
    val: int = field(metadata=NOT_NEGATIVE)
    test: int = field(metadata=NOT_NEGATIVE)
    seed: int = field(metadata=NOT_NEGATIVE)


def main(options: Options) -> None:
    """Prepare Visual Genome, and report what was written and what was skipped."""
    source, out = Path(options.source), Path(options.out)
    genome = GenomeOptions(**{f.name: getattr(options, f.name) for f in fields(GenomeOptions)})
    report = prepare_genome(source, out, genome, report=log.info)
    write_text(
        out / "report.json", json.dumps({**preparation_provenance(source, genome), **report}, indent=1)
    )
    if genome.captions is None:
        print(
            "bua prepare-vg: without captions=dataset_coco.json, images of the caption evaluation may be "
            "used to train the detector",
            file=sys.stderr,
        )
    problems, counts = report["problems"], report["counts"]
    for problem in problems[:MAX_PROBLEMS]:
        print(f"bua prepare-vg: {problem}", file=sys.stderr)
    if problems:
        print(
            f"bua prepare-vg: {len(problems)} images are skipped, see {out / 'report.json'}",
            file=sys.stderr,
        )
    for name, boxes in report["boxes"].items():
        images = report["images"]["written"][name]
        log.info(f"{name}: {images} of {report['splits'][name]} images, {boxes} boxes")
    log.info(
        f"skipped {counts['objects_out_of_vocabulary']} objects without a class and "
        f"{counts['objects_outside_of_the_image']} outside of their image; all counts: {out / 'report.json'}"
    )
