"""Preparing Visual Genome for training a detector of objects and attributes.

The rules are those of the released detector (Anderson et al. 2018), with three differences. A box of
which nothing lies in the image is left out; there it became the whole image, with a wrong height.
Classes are looked up by all synonyms of a vocabulary; there a synonym had to be among the 2,500 most
frequent names too. The random part of val and test is drawn by another generator.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bua.data.genome.convert import COUNTS, Converter, count_names, gather_attributes
from bua.data.genome.instances import InstancesWriter
from bua.data.genome.names import most_frequent, read_names
from bua.data.genome.photographs import find_photographs
from bua.data.genome.source import GenomeObject, Picture, objects_file, read_objects, read_pictures
from bua.data.genome.splits import SPLITS, draw_splits, origins, read_karpathy
from bua.errors import InputError
from bua.io.atomic import write_text


@dataclass(frozen=True, kw_only=True)
class GenomeOptions:
    """What is made of Visual Genome.

    Args:
        objects: file of classes with their synonyms; without it they are the most frequent names.
        attributes: the same for attributes.
        top_objects: how many names become classes where no file says which.
        top_attributes: how many attributes.
        count: what decides which attributes are the most frequent: the ``first`` that was said of every
            object, as for the released vocabulary, or ``all``. Those in front of names count always.
        most_attributes: attributes that one object may have at most.
        karpathy: ``dataset_coco.json``, whose val and test images are kept out of train.
        images: folder of the photographs; without it they are believed to be where their addresses say.
        val: images of val.
        test: images of test.
        seed: of the draw that fills val and test.
    """

    objects: str | None
    attributes: str | None
    top_objects: int
    top_attributes: int
    count: str
    most_attributes: int
    karpathy: str | None
    images: str | None
    val: int
    test: int
    seed: int


def prepare(
    source: Path, out: Path, options: GenomeOptions, *, report: Callable[[str], None]
) -> dict[str, Any]:
    """Write ``instances_{train,val,test}.json``, the vocabularies and ``splits.json``.

    Nothing in ``source`` is changed, and the same arguments give the same bytes.

    Args:
        source: folder of the official files.
        out: folder to write to, made if it is not there.
        options: what is made.
        report: called with a line for every step.

    Returns:
        Everything that was counted: ``counts`` of what ``COUNTS`` names, images, boxes and images of
        each COCO folder by split, and a line for every photograph that is missing.

    Raises:
        InputError: a file is missing or broken, or nothing can be made of what is in it.
    """
    if options.count not in ("first", "all"):
        raise InputError(f"count={options.count}: first or all is needed")
    classes = read_names(options.objects) if options.objects else None
    attributes = read_names(options.attributes) if options.attributes else None
    pictures = read_pictures(source / "image_data.json")
    things = objects_file(source)
    karpathy = read_karpathy(options.karpathy) if options.karpathy else None
    splits = draw_splits(pictures, karpathy, val=options.val, test=options.test, seed=options.seed)
    report(f"{len(pictures)} images: " + ", ".join(f"{len(ids)} {name}" for name, ids in splits.items()))
    there, problems = find_photographs(pictures, options.images) if options.images else (pictures, [])
    counts = Counter(dict.fromkeys(COUNTS, 0))
    said, frequent = gather_attributes(source / "attributes.json", counts, every=options.count == "all")
    report(f"{counts['attributes']} attributes")
    passed = 0
    if classes is None or attributes is None:
        names, before = count_names(read_objects(things, pictures))
        if classes is None:
            classes, passed = most_frequent(names, options.top_objects)
        if attributes is None:
            attributes, more = most_frequent(frequent + before, options.top_attributes)
            passed += more
    if not len(classes):
        raise InputError(f"{things}: no object in it has a name")
    report(f"{len(classes)} classes and {len(attributes)} attributes are known")
    out.mkdir(parents=True, exist_ok=True)
    converter = Converter(
        classes=classes, attributes=attributes, said=said, most=options.most_attributes, counts=counts
    )
    place = {image_id: name for name, ids in splits.items() for image_id in ids}
    writers = _write(out, read_objects(things, pictures), there, place, converter)
    resized = sum(p[2:4] != pictures[n][2:4] for n, p in there.items())
    write_text(out / "splits.json", json.dumps(splits))
    write_text(out / "objects_vocab.txt", classes.text)
    write_text(out / "attributes_vocab.txt", attributes.text)
    return {
        "images": {
            "all": len(pictures),
            "without_photograph": len(problems),
            "of_another_size_than_image_data_says": resized,
            "without_boxes": len(there) - sum(len(w.images) for w in writers.values()),
            "written": {name: len(writer.images) for name, writer in writers.items()},
        },
        "boxes": {name: writer.boxes for name, writer in writers.items()},
        "counts": dict(counts),
        "names_that_no_file_can_hold": passed,
        "splits": {name: len(ids) for name, ids in splits.items()},
        "origins": origins(splits, pictures, karpathy),
        "problems": problems,
    }


def _write(
    out: Path,
    images: Iterable[tuple[int, list[GenomeObject]]],
    there: Mapping[int, Picture],
    place: Mapping[int, str],
    converter: Converter,
) -> dict[str, InstancesWriter]:
    """Write the instances of every split; the files get their names when all are whole.

    Args:
        out: folder of the files.
        images: the objects of every image.
        there: the images that have a photograph.
        place: the split of every image.
        converter: makes the annotations.
    """
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(
                InstancesWriter(
                    out / f"instances_{name}.json",
                    description=f"Visual Genome {name}",
                    classes=converter.classes,
                    attributes=converter.attributes,
                )
            )
            for name in SPLITS
        }
        for image_id, objects in images:
            if image_id not in there:
                converter.skip_image(image_id, objects)
            elif annotations := converter.annotations(there[image_id], objects):
                writers[place[image_id]].add(there[image_id], annotations)
        converter.skip_rest()
        if not writers["train"].images:
            raise InputError(
                f"{out}: no image of train has an object that is one of the {len(converter.classes)} classes"
            )
        for writer in writers.values():
            writer.finish()
        for writer in writers.values():
            writer.publish()
    return writers
