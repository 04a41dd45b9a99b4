"""``bua genome``: Visual Genome as COCO instances with attributes."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

from bua.data.genome.prepare import GenomeOptions, prepare
from bua.data.genome.source import objects_file
from bua.engine.provenance import sha256
from bua.io.atomic import write_text

log = logging.getLogger(__name__)
#: Missing photographs that are named on stderr.
MOST_PROBLEMS = 10


def main(config: Any) -> None:
    """Prepare Visual Genome, say what was made and what was left out."""
    source, out = Path(config.source), Path(config.out)
    options = GenomeOptions(**{name: config[name] for name in GenomeOptions.__dataclass_fields__})
    report = prepare(source, out, options, report=log.info)
    write_text(out / "report.json", json.dumps({**_about(source, options), **report}, indent=1))
    if options.karpathy is None:
        print(
            "bua genome: without karpathy=dataset_coco.json nothing keeps the images of caption "
            "evaluation out of the detector's training",
            file=sys.stderr,
        )
    problems, counts = report["problems"], report["counts"]
    for problem in problems[:MOST_PROBLEMS]:
        print(f"bua genome: {problem}", file=sys.stderr)
    if problems:
        print(
            f"bua genome: {len(problems)} images are left out: {out / 'report.json'} lists them",
            file=sys.stderr,
        )
    for name, boxes in report["boxes"].items():
        images = report["images"]["written"][name]
        log.info(f"{name}: {images} of {report['splits'][name]} images, {boxes} boxes")
    log.info(
        f"left out: {counts['objects_out_of_vocabulary']} objects that are of no class, "
        f"{counts['objects_without_a_box_in_the_image']} without a box in the image; "
        f"everything that was counted: {out / 'report.json'}"
    )


def _about(source: Path, options: GenomeOptions) -> dict[str, Any]:
    """Return what stands in the report about where it comes from."""
    files = {
        "images": source / "image_data.json",
        "objects": objects_file(source),
        "attributes": source / "attributes.json",
        "karpathy": options.karpathy,
        "objects vocabulary": options.objects,
        "attributes vocabulary": options.attributes,
    }
    return {
        "options": {
            "top_objects": options.top_objects,
            "top_attributes": options.top_attributes,
            "count": options.count,
            "most_attributes": options.most_attributes,
            "val": options.val,
            "test": options.test,
            "seed": options.seed,
        },
        "sources": {
            role: {"file": Path(path).name, "sha256": sha256(path)} for role, path in files.items() if path
        },
    }
