"""The features, captions and questions of a run, for prediction with its model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bua.data.captions.dataset import match_caption_images
from bua.data.captions.files import read_caption_file, select_images
from bua.data.image_lookup import read_ids
from bua.engine.run_directory import RunDirectory
from bua.engine.run_options import require_recorded
from bua.errors import InputError
from bua.store.reader import FeatureStore
from bua.structures.annotations import ImageId

#: Splits whose files are in the configuration of a run.
SPLITS = ("train", "val")


def read_run_data(run: Path | str, key: str) -> Any:
    """Return a value of the data configuration of a run.

    Args:
        run: Run directory, or checkpoint within one.
        key: Key within ``data``, such as "features" or "val".

    Raises:
        InputError: If the run has no such value.
    """
    path = Path(run)
    directory = RunDirectory(path.parent.parent if path.is_file() else path)
    value = directory.config().get("data", {}).get(key)
    if not value:
        raise InputError(f"{directory.path}: its data have no {key}; give the file on the command line")
    if isinstance(value, str):
        require_recorded(value, directory.path, f"data.{key}", f"{key}=FILE")
    return value


def run_questions(run: Path | str, split: str | None) -> list[str]:
    """Return the question files of a split of a run, of val by default.

    Raises:
        InputError: If a run has no such split.
    """
    name = split or "val"
    if name not in SPLITS:
        raise InputError(f"split={split}: a run has {' and '.join(SPLITS)}; give questions=FILE for others")
    questions = read_run_data(run, name)["questions"]
    files = [questions] if isinstance(questions, str) else [str(path) for path in questions]
    for path in files:
        require_recorded(path, run, f"data.{name}.questions", "questions=FILE")
    return files


@dataclass(frozen=True)
class ImageSelection:
    """Selection of the images to predict.

    Attributes:
        images: File of captions or images, or list of ids (``.txt``). Default: those of the split, or all
            images of the store.
        split: "train" or "val" of the run, or any split of a file with splits.
        splits: Splits of ``images``, if it has splits.
        ids: Text file with one id per line, which selects among the images.
        image_key: Field that identifies an image in the store: "id" or "file_name". Default: as in the run.
    """

    images: str | None = None
    split: str | None = None
    splits: Any = ()
    ids: str | None = None
    image_key: str | None = None


def select_stored_images(selection: ImageSelection, run: str, store: FeatureStore) -> dict[ImageId, ImageId]:
    """Return the ids in a store of the selected images, by their ids in their file.

    Args:
        selection: Images to select.
        run: Run directory, whose data are used if no file is given.
        store: Feature store.

    Raises:
        InputError: If a file is broken, or an image is not in the file or not in the store.
    """
    if selection.images is None and selection.split is None:
        return _restrict(store.image_ids, selection.ids, str(store.path))
    if selection.images is not None and Path(selection.images).suffix == ".txt":
        if selection.split is not None:
            raise InputError(f"split={selection.split}: {selection.images} is a list of ids without splits")
        images = _restrict(read_ids(selection.images), selection.ids, selection.images)
        store.require_images(list(images), selection.images)
        return images
    path, ids, splits, image_key = selection.images, selection.ids, selection.splits, selection.image_key
    if path is not None and selection.split is not None:
        splits = [*splits, selection.split]
    if path is None:
        data = RunDirectory(run).config()["data"]
        name = selection.split if selection.split in SPLITS else "val"
        source = data.get(name) or {}
        path = source.get("file")
        if selection.split in SPLITS:
            ids, splits = ids or source.get("ids"), splits or source.get("splits") or []
        else:  # another split of the file that holds the run's own splits
            splits = [selection.split]
        image_key = image_key or data.get("image_key")
        if path:
            require_recorded(path, run, f"data.{name}.file", "images=FILE")
        if ids and ids == source.get("ids"):
            require_recorded(ids, run, f"data.{name}.ids", "ids=FILE")
    if not path:
        raise InputError(f"{run}: its data have no {selection.split}; give the file as images=F.json")
    file = select_images(read_caption_file(path, captions=False), ids, splits)
    return match_caption_images(file, list(file.captions), store, image_key or "id")


def _restrict(images: list[ImageId], ids: str | None, source: str) -> dict[ImageId, ImageId]:
    """Return the images that a list of ids selects, or all of them."""
    if ids is None:
        return {image_id: image_id for image_id in images}
    known, selected = set(images), read_ids(ids)
    for image_id in selected:
        if image_id not in known:
            raise InputError(f"{ids}: image {image_id} is not among the {len(images)} of {source}")
    return {image_id: image_id for image_id in selected}
