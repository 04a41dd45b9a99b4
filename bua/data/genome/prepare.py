"""Prepare Visual Genome for training a detector of objects and attributes.

The rules are those of the released detector (Anderson et al. 2018), with three differences. A box outside
of its image is skipped; there it became the whole image, with a wrong height. Classes are looked up by
all synonyms of a vocabulary; there a synonym had to be one of the 2,500 most frequent names as well. The
random part of val and test is drawn by a different generator.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bua.data.genome.convert import COUNTS, AnnotationConverter, count_names, gather_attributes
from bua.data.genome.instances import InstancesWriter
from bua.data.genome.names import most_frequent_labels, read_label_vocabulary
from bua.data.genome.photos import find_genome_photos
from bua.data.genome.source import GenomeImage, GenomeObject, find_objects_file, read_images, read_objects
from bua.data.genome.splits import SPLITS, count_origins, draw_splits, read_karpathy
from bua.errors import InputError
from bua.io.files import file_sha256
from bua.io.write import atomic_files, write_text


@dataclass(frozen=True, kw_only=True)
class GenomeOptions:
    """Options of the preparation of Visual Genome.

    Attributes:
        classes: Vocabulary file of classes with their synonyms; ``None`` for the most frequent names.
        attributes: Vocabulary file of attributes; ``None`` for the most frequent attributes.
        top_classes: Number of classes without a vocabulary file.
        top_attributes: Number of attributes without a vocabulary file.
        count: Attributes that count towards the most frequent ones: "first" for the first one of every
            object, as for the released vocabulary, or "all". Attributes leading names always count.
        max_attributes: Maximum number of attributes of an object.
        captions: Karpathy's ``dataset_coco.json``, whose val and test images are kept out of train.
        images: Folder of the photos; ``None`` to trust the file names and sizes in image_data.json.
        val: Number of images of val.
        test: Number of images of test.
        seed: Seed of the draw that fills val and test.
    """

    classes: str | None
    attributes: str | None
    top_classes: int
    top_attributes: int
    count: str
    max_attributes: int
    captions: str | None
    images: str | None
    val: int
    test: int
    seed: int


def prepare_genome(
    source: Path, out: Path, options: GenomeOptions, *, report: Callable[[str], None]
) -> dict[str, Any]:
    """Write ``instances_{train,val,test}.json``, the vocabularies and ``splits.json``.

    Nothing in ``source`` is changed, and the same arguments give the same bytes.

    Args:
        source: Folder of the official files.
        out: Folder to write to; created if it does not exist.
        options: Options of the preparation.
        report: Called with one line for every step.

    Returns:
        Report of the preparation: ``counts`` with the keys of ``COUNTS``, the numbers of images and boxes
        by split, the origins of the images of each split, and one line for every missing photo.

    Raises:
        InputError: If a file is missing or invalid, or if it contains nothing to train on.
    """
    if options.count not in ("first", "all"):
        raise InputError(f"count={options.count}: must be first or all")
    classes = read_label_vocabulary(options.classes) if options.classes else None
    attributes = read_label_vocabulary(options.attributes) if options.attributes else None
    images = read_images(source / "image_data.json")
    objects = find_objects_file(source)
    karpathy = read_karpathy(options.captions) if options.captions else None
    splits = draw_splits(images, karpathy, val=options.val, test=options.test, seed=options.seed)
    report(f"{len(images)} images: " + ", ".join(f"{len(ids)} {name}" for name, ids in splits.items()))
    found, problems = find_genome_photos(images, options.images) if options.images else (images, [])
    counts = Counter(dict.fromkeys(COUNTS, 0))
    object_attributes, frequencies = gather_attributes(
        source / "attributes.json", counts, count_all=options.count == "all"
    )
    report(f"{counts['attributes']} attributes")
    skipped = 0
    if classes is None or attributes is None:
        names, leading = count_names(read_objects(objects, images))
        if classes is None:
            classes, skipped = most_frequent_labels(names, options.top_classes)
        if attributes is None:
            attributes, more = most_frequent_labels(frequencies + leading, options.top_attributes)
            skipped += more
    if not len(classes):
        raise InputError(f"{objects}: no object has a name")
    report(f"vocabularies of {len(classes)} classes and {len(attributes)} attributes")
    out.mkdir(parents=True, exist_ok=True)
    converter = AnnotationConverter(
        classes=classes,
        attributes=attributes,
        object_attributes=object_attributes,
        max_attributes=options.max_attributes,
        counts=counts,
    )
    split_of = {image_id: name for name, ids in splits.items() for image_id in ids}
    writers = _write(out, read_objects(objects, images), found, split_of, converter)
    resized = sum(image[2:4] != images[n][2:4] for n, image in found.items())
    write_text(out / "splits.json", json.dumps(splits))
    write_text(out / "objects_vocab.txt", classes.text)
    write_text(out / "attributes_vocab.txt", attributes.text)
    return {
        "images": {
            "all": len(images),
            "missing": len(problems),
            "with_another_size_than_in_image_data": resized,
            "without_boxes": len(found) - sum(len(w.images) for w in writers.values()),
            "written": {name: len(writer.images) for name, writer in writers.items()},
        },
        "boxes": {name: writer.boxes for name, writer in writers.items()},
        "counts": dict(counts),
        "names_skipped_as_invalid": skipped,
        "splits": {name: len(ids) for name, ids in splits.items()},
        "origins": count_origins(splits, images, karpathy),
        "problems": problems,
    }


def _write(
    out: Path,
    objects_of_images: Iterable[tuple[int, list[GenomeObject]]],
    images: Mapping[int, GenomeImage],
    split_of: Mapping[int, str],
    converter: AnnotationConverter,
) -> dict[str, InstancesWriter]:
    """Write the instances of every split; the files get their final names when all are complete.

    Args:
        out: Folder to write to.
        objects_of_images: Id and objects of every image.
        images: Images whose photos exist.
        split_of: Split of every image.
        converter: Converter from objects to annotations.
    """
    outs = [out / f"instances_{name}.json" for name in SPLITS]
    with atomic_files(*outs) as partials, ExitStack() as stack:
        writers = {
            name: InstancesWriter(
                stack.enter_context(open(partial, "w", encoding="utf-8")),
                description=f"Visual Genome {name}",
                classes=converter.classes,
                attributes=converter.attributes,
            )
            for name, partial in zip(SPLITS, partials, strict=True)
        }
        for image_id, objects in objects_of_images:
            if image_id not in images:
                converter.skip_image(image_id, objects)
            elif annotations := converter.annotations(images[image_id], objects):
                writers[split_of[image_id]].add(images[image_id], annotations)
        converter.skip_rest()
        if not writers["train"].images:
            raise InputError(
                f"{out}: no image of train has an object of any of the {len(converter.classes)} classes"
            )
        for writer in writers.values():
            writer.finish()
    return writers


def preparation_provenance(source: Path, options: GenomeOptions) -> dict[str, Any]:
    """Return the options and the hashes of the source files, for the report."""
    files = {
        "images": source / "image_data.json",
        "objects": find_objects_file(source),
        "attributes": source / "attributes.json",
        "captions": options.captions,
        "objects vocabulary": options.classes,
        "attributes vocabulary": options.attributes,
    }
    return {
        "options": {
            "top_classes": options.top_classes,
            "top_attributes": options.top_attributes,
            "count": options.count,
            "max_attributes": options.max_attributes,
            "val": options.val,
            "test": options.test,
            "seed": options.seed,
        },
        "sources": {
            role: {"file": Path(path).name, "sha256": file_sha256(path)}
            for role, path in files.items()
            if path
        },
    }
