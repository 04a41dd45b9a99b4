"""JSON of one's own: captions by image, or a list of images with their captions.

::

    {"42": "A cat on a bed.", "43": ["A dog.", "A dog runs."]}
    [{"image_id": 42, "caption": "A cat on a bed."}, {"image_id": 42, "caption": "A cat."}]
    [{"image": "cats/tom.jpg", "captions": ["A cat on a bed.", "A cat."]}]

The second is also the format of results. Where an entry has both ``image_id`` and ``image``, the first
names the image and the second its photograph.
"""

from typing import Any

from bua.data.captions.files.entry import CaptionText, Entry
from bua.io.json_file import Report
from bua.store.reader import ImageId


def entries_of_members(members: list[tuple[str, Any]], report: Report) -> list[Entry]:
    """Return the images of a JSON object; ids are numbers if all of them look like numbers."""
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


def entries_of_list(records: list[Any], report: Report) -> list[Entry]:
    """Return the images of a JSON list; entries of one caption each may share an image."""
    entries: list[Entry] = []
    shared: dict[ImageId, Entry] = {}
    for position, record in enumerate(records):
        if not isinstance(record, dict):
            report(f"entry {position} is not an object")
            continue
        image_id = record.get("image_id", record.get("image"))
        file_name = record.get("image", str(image_id))
        value = record.get("captions", record.get("caption"))
        texts = _texts(value)
        if (
            not isinstance(image_id, int | str)
            or isinstance(image_id, bool)
            or not isinstance(file_name, str)
        ):
            report(f'entry {position}: an "image_id", or the name of its file as "image", is needed')
        elif "caption" in record and "captions" in record:
            report(
                f'entry {position} (image {image_id}): one of "caption" and "captions" is needed, not both'
            )
        elif texts is None:
            report(
                f'entry {position} (image {image_id}): a "caption" or a list of "captions" is needed, '
                f"not {value!r:.80}"
            )
        elif isinstance(value, list):
            captions = [CaptionText(f"caption {n}", text) for n, text in enumerate(texts, 1)]
            entries.append(Entry(image_id, file_name, captions))
        else:
            if image_id not in shared:
                shared[image_id] = Entry(image_id, file_name, [])
                entries.append(shared[image_id])
            shared[image_id].captions.append(CaptionText(f"entry {position}", texts[0]))
    return entries


def _texts(value: Any) -> list[str] | None:
    """Return a text or a list of texts as a list, anything else as None."""
    texts = [value] if isinstance(value, str) else value
    return texts if isinstance(texts, list) and all(isinstance(text, str) for text in texts) else None
