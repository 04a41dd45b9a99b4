"""The images and captions of JSON files in each format (see the package)."""

from pathlib import PurePosixPath
from typing import Any, NotRequired, TypedDict

from bua.data.captions.files.entries import CaptionText, Entry
from bua.io.coco import coco_images, resolver
from bua.io.schema import Id, Integer, Report, valid_records
from bua.structures.annotations import ImageId


class _Annotation(TypedDict):
    id: Id
    image_id: Id
    caption: str


class _Sentence(TypedDict):
    raw: str
    sentid: NotRequired[Integer | None]


class _KarpathyImage(TypedDict):
    filename: str
    filepath: NotRequired[str | None]
    split: str
    sentences: list[Any]


class _CocoSplitImage(_KarpathyImage):
    cocoid: Integer


class _OtherSplitImage(_KarpathyImage):
    imgid: Integer


def coco_entries(content: dict[str, Any], report: Report) -> list[Entry]:
    """Return the images of a file of COCO or nocaps with their captions, reporting every mistake."""
    images = coco_images(content, "", report)
    known = resolver(image["id"] for image in images)
    captions: dict[ImageId, list[CaptionText]] = {image["id"]: [] for image in images}
    annotations = content.get("annotations", [])
    if not isinstance(annotations, list):
        report(f"annotations must be a list, not {annotations!r:.80}")
        annotations = []
    seen: set[ImageId] = set()
    for annotation in valid_records(annotations, "annotations", _Annotation, report):
        caption_id, image_id = annotation["id"], known(annotation["image_id"])
        if caption_id in seen:
            report(f"caption {caption_id} is duplicated")
        elif image_id not in captions:
            report(f"caption {caption_id} refers to image {image_id}, which is not in images")
        else:
            is_flagged = annotation.get("is_rejected") is True or annotation.get("is_precanned") is True
            captions[image_id].append(CaptionText(f"caption {caption_id}", annotation["caption"], is_flagged))
        seen.add(caption_id)
    return [
        Entry(
            image_id=image["id"],
            file_name=image["file_name"] or str(image["id"]),
            captions=captions[image["id"]],
            domain=image.get("domain"),
        )
        for image in images
    ]


def karpathy_entries(content: dict[str, Any], report: Report) -> list[Entry]:
    """Return the images of one of Karpathy's files with their captions, reporting every mistake."""
    images = content["images"]
    key = "cocoid" if any("cocoid" in image for image in images if isinstance(image, dict)) else "imgid"
    schema = _CocoSplitImage if key == "cocoid" else _OtherSplitImage
    seen: set[int] = set()
    return [
        Entry(
            image_id=image[key],
            file_name=str(PurePosixPath(image.get("filepath") or "", image["filename"])),
            captions=_sentences(image["sentences"], f"image {image[key]}", seen, report),
            split=image["split"],
        )
        for image in valid_records(images, "images", schema, report)
    ]


def _sentences(sentences: list[Any], image: str, seen: set[int], report: Report) -> list[CaptionText]:
    """Return the captions of an image; ``seen`` collects the ids of all sentences of the file."""
    captions = []
    for number, sentence in enumerate(valid_records(sentences, f"{image}: sentences", _Sentence, report)):
        sentence_id = sentence.get("sentid")
        if sentence_id in seen:
            report(f"{image}: sentence {sentence_id} is duplicated")
        if sentence_id is not None:
            seen.add(sentence_id)
        name = f"sentence {number if sentence_id is None else sentence_id}"
        captions.append(CaptionText(name, sentence["raw"]))
    return captions


def object_entries(members: list[tuple[str, Any]], report: Report) -> list[Entry]:
    """Return the images of a plain JSON object; ids are numbers if all of them look like numbers."""
    numbers = all(name.isdecimal() for name, _ in members)
    entries = []
    for name, value in members:
        texts = _texts(value)
        if texts is None:
            report(f"image {name}: {value!r:.80} is neither a caption nor a list of captions")
            continue
        captions = [CaptionText(f"caption {n}", text) for n, text in enumerate(texts, 1)]
        entries.append(Entry(int(name) if numbers else name, name, captions))
    return entries


def list_entries(records: list[Any], report: Report) -> list[Entry]:
    """Return the images of a plain JSON list; entries of one caption each may share an image."""
    entries: list[Entry] = []
    shared: dict[ImageId, Entry] = {}
    for position, record in enumerate(records):
        if mistake := _mistake_in_record(record):
            report(f"entry {position}{mistake}")
            continue
        image_id = record.get("image_id", record.get("image"))
        file_name = record.get("image", str(image_id))
        value = record.get("captions", record.get("caption"))
        if isinstance(value, list):
            captions = [CaptionText(f"caption {n}", text) for n, text in enumerate(value, 1)]
            entries.append(Entry(image_id, file_name, captions))
        else:
            if image_id not in shared:
                shared[image_id] = Entry(image_id, file_name, [])
                entries.append(shared[image_id])
            shared[image_id].captions.append(CaptionText(f"entry {position}", value))
    return entries


def _mistake_in_record(record: Any) -> str | None:
    """Return what is wrong with an entry of a plain list, to follow its position, if anything is."""
    if not isinstance(record, dict):
        return " is not an object"
    image_id = record.get("image_id", record.get("image"))
    valid_id = isinstance(image_id, int | str) and not isinstance(image_id, bool)
    if not valid_id or not isinstance(record.get("image", str(image_id)), str):
        return ': needs an "image_id", or the name of the image file as "image"'
    if "caption" in record and "captions" in record:
        return f' (image {image_id}): must have either "caption" or "captions", not both'
    value = record.get("captions", record.get("caption"))
    if _texts(value) is None:
        return f' (image {image_id}): needs a "caption" or a list of "captions", not {value!r:.80}'
    return None


def _texts(value: Any) -> list[str] | None:
    """Return a string or a list of strings as a list, and ``None`` for anything else."""
    texts = [value] if isinstance(value, str) else value
    return texts if isinstance(texts, list) and all(isinstance(text, str) for text in texts) else None
