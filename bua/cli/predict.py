"""``bua predict``: captions or answers of a data set in the official result formats."""

import json
import logging
from pathlib import Path
from typing import Any

from bua.cli.load import load
from bua.cli.run import RunDirectory
from bua.data.coco import read_ids
from bua.data.vqa import read_questions
from bua.errors import InputError
from bua.json_file import read_json, records
from bua.store.atomic import write_text
from bua.store.reader import FeatureStore, ImageId
from bua.tasks.trained import Trained

log = logging.getLogger(__name__)


def main(config: Any) -> None:
    """Predict and write the file."""
    trained = load(config.run, device=config.device)
    store = FeatureStore(config.features or _of_run(config.run, "features"))
    if not config.any_features:
        trained.check_features(store.about.identity, str(store.path))
    make = _answers if trained.kind == "vqa" else _captions
    results = make(config, trained, store)
    out = Path(config.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, json.dumps(results, allow_nan=False))
    noun = "answers" if trained.kind == "vqa" else "captions"
    log.info(f"{out}: {len(results)} {noun}")


def _of_run(run: str, key: str) -> str:
    """Return a file name from the configuration of a run, when none was given."""
    directory = RunDirectory(run)
    value = directory.config().get("data", {}).get(key)
    if not value:
        raise InputError(f"{directory.path}: its data have no {key}; give the file on the command line")
    return str(value)


def _captions(config: Any, trained: Trained, store: FeatureStore) -> list[dict[str, Any]]:
    images = _images(config, store)
    store.require(images, str(config.images or config.split))
    results = []
    for start in range(0, len(images), config.batch_size):
        ids = images[start : start + config.batch_size]
        said = trained.caption_store(store, ids, width=config.width, max_words=config.max_words)
        results += [{"image_id": i, "caption": text} for i, text in zip(ids, said, strict=True)]
    return results


def _images(config: Any, store: FeatureStore) -> list[ImageId]:
    """Return the images that are meant: of a file, of a split of the run, or all of the store."""
    ids = config.ids
    if config.images is not None and Path(config.images).suffix == ".txt":
        images = read_ids(config.images)
    elif config.images is None and config.split is None:
        images = store.image_ids
    else:
        source = config.images or _of_run(config.run, config.split)
        images = [i["id"] for i in records(read_json(source), source, "images", {"id": (int, str)})]
        if config.images is None and ids is None:
            ids = RunDirectory(config.run).config()["data"].get(f"{config.split}_ids")
    if ids is None:
        return images
    chosen, there = read_ids(ids), set(images)
    missing = [image_id for image_id in chosen if image_id not in there]
    if missing:
        raise InputError(f"{ids}: image {missing[0]} is not among the {len(images)} images to choose from")
    return chosen


def _answers(config: Any, trained: Trained, store: FeatureStore) -> list[dict[str, Any]]:
    source = config.questions or _of_run(config.run, config.split or "val")
    questions = read_questions(source)
    store.require(list(dict.fromkeys(q.image_id for q in questions)), source)
    results = []
    for start in range(0, len(questions), config.batch_size):
        part = questions[start : start + config.batch_size]
        said = trained.answer_store(store, [q.image_id for q in part], [q.text for q in part])
        results += [
            {"question_id": q.question_id, "answer": text} for q, text in zip(part, said, strict=True)
        ]
    return results
