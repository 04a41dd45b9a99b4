"""``bua predict``: captions or answers of a data set in the official result formats."""

import json
import logging
from collections.abc import Iterable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bua.cli.commands.images import chosen_images
from bua.cli.overrides import reject_overrides
from bua.data.captions.constraints import build_automata, count_satisfied, read_constraints
from bua.decode import BeamSearch
from bua.engine.instantiate import instantiate, to_plain
from bua.engine.load import load
from bua.errors import InputError
from bua.inference.outputs import CaptionCandidate
from bua.inference.predict_vqa import answers, features_of, looked
from bua.inference.predictor import Predictor
from bua.io.atomic import write_text
from bua.store.reader import FeatureStore, ImageId

log = logging.getLogger(__name__)

#: Keys that mean nothing to a kind of model, and why.
NOT_OF = {
    "caption": ("questions",),
    "vqa": ("images", "image_key", "ids", "splits", "constraints", "required", "decode"),
}
WHY = {"caption": "it describes images", "vqa": "it answers the questions of a file"}


def main(config: Any) -> None:
    """Predict and write the file."""
    torch.manual_seed(config.seed)
    options = {"device": config.device, "precision": config.precision, "compile": config.compile}
    trained = load(config.run, **options)
    others = to_plain(config.others)
    if not isinstance(others, list):
        raise InputError(f"others={others}: a list of runs is needed: others=[{others}]")
    if trained.kind == "caption" and (others or config.shares is not None):
        every = [load(run, **options) for run in others]
        trained = trained.with_others(every, to_plain(config.shares))
    store = features_of(config, config.run, trained)
    reject_overrides(NOT_OF[trained.kind], f"{config.run} does not take it: {WHY[trained.kind]}")
    make = answers if trained.kind == "vqa" else _captions
    results = make(config, trained, store)
    out = Path(config.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, json.dumps(results, allow_nan=False))
    noun = "answers" if trained.kind == "vqa" else "captions"
    log.info(f"{out}: {len(results)} {noun}")


def _captions(config: Any, trained: Predictor, store: FeatureStore) -> list[dict[str, Any]]:
    images = chosen_images(config, config.run, store)
    others = _others(config, trained, list(images))
    decoder, constraints = instantiate(config.decode), None
    if config.n_best > decoder.num_sequences:
        raise InputError(
            f"n_best={config.n_best}: decode.beam_size={decoder.beam_size} finds no more than those"
        )
    if config.required is not None and config.constraints is None:
        raise InputError(f"required={config.required} needs constraints=FILE")
    if config.constraints is not None:
        if not isinstance(decoder, BeamSearch):
            raise InputError(f"constraints={config.constraints} need decode=beam")
        constraints = read_constraints(config.constraints, trained.vocabulary, log.warning)
        if left := constraints.keys() - set(map(str, images)):
            log.warning(f"{config.constraints}: {len(left)} images, as {min(left)}, are not described")
    states: Iterable[int] = repeat(1)
    if constraints is not None:
        states = (build_automata(constraints, [i], config.required).states for i in images)
    results = []
    for ids in batches(images, states, config.batch_size):
        more = {} if constraints is None else {"automaton": build_automata(constraints, ids, config.required)}
        looks = [(other, [stored[i] for i in ids]) for other, stored in others]
        found = trained.caption_store(store, [images[i] for i in ids], others=looks, decoder=decoder, **more)
        for i, said in zip(ids, found, strict=True):
            boxes = None if config.attention is None else store[images[i]].boxes
            results.append(_result(i, said, boxes, config))
            if constraints is not None:
                wanted = constraints.get(str(i), [])
                here = count_satisfied(said[0].words, wanted, trained.vocabulary)
                results[-1] |= {"met": here, "constraints": len(wanted)}
    if constraints is not None:
        log.info(f"{config.constraints}: {_met_by(results, config.required)}")
    if empty := sum(not result["caption"] for result in results):
        log.warning(f"{empty} of {len(results)} captions are empty; decode.rules.min_length=1 forbids it")
    return results


def _others(
    config: Any, trained: Predictor, images: list[ImageId]
) -> list[tuple[FeatureStore, dict[ImageId, ImageId]]]:
    """Return where each of several captioners but the first looks: its features, and the images in them."""
    found = []
    for run, other in zip(to_plain(config.others), trained.others, strict=True):
        store = features_of(config, run, other)
        stored = chosen_images(config, config.run, store)
        if missing := [image_id for image_id in images if image_id not in stored]:
            raise InputError(f"{store.path}: {run} needs image {missing[0]!r} in it, too")
        found.append((store, stored))
    return found


def batches(images: Iterable[ImageId], states: Iterable[int], most: int) -> Iterator[list[ImageId]]:
    """Yield images in batches, in their order.

    A search has beams for every state of an automaton, and as many for each image of a batch: images by
    states are no more than ``most``, unless one image alone has more.

    Args:
        images: their ids.
        states: of the automaton of each; 1 without one.
        most: images of a batch where each has one state.
    """
    batch: list[ImageId] = []
    widest = 0
    for image, count in zip(images, states, strict=False):
        if batch and (len(batch) + 1) * max(widest, count) > most:
            yield batch
            batch, widest = [], 0
        batch.append(image)
        widest = max(widest, count)
    if batch:
        yield batch


def _met_by(results: list[dict[str, Any]], required: int | None) -> str:
    """Say how many constraints were met, and in how many images as many as are wanted."""
    pairs = [(result["met"], result["constraints"]) for result in results if result["constraints"]]
    enough = sum(n >= (count if required is None else min(required, count)) for n, count in pairs)
    return (
        f"{sum(n for n, _ in pairs)} of {sum(count for _, count in pairs)} constraints are met; {enough} of "
        f"{len(pairs)} images with constraints meet {'all' if required is None else f'{required} or all'}"
    )


def _result(
    image_id: ImageId, said: list[CaptionCandidate], boxes: NDArray[np.floating] | None, config: Any
) -> dict[str, Any]:
    """Return the official record of an image, on request with what else was found."""
    every = [_record(one, boxes, config.attention) for one in said[: config.n_best]]
    best = every[0] if config.scores else {k: v for k, v in every[0].items() if k != "log_prob"}
    more = {"candidates": every} if config.n_best > 1 else {}
    return {"image_id": image_id, **best, **more}


def _record(said: CaptionCandidate, boxes: NDArray[np.floating] | None, most: int) -> dict[str, Any]:
    """Return a caption; with boxes of regions also the ``most`` that each word looked at most."""
    record: dict[str, Any] = {"caption": said.text, "log_prob": said.log_prob}
    if boxes is not None:
        record["attention"] = [
            {"word": word, "regions": looked(weights, boxes, most)}
            for word, weights in zip(said.words, said.weights, strict=True)
        ]
    return record
