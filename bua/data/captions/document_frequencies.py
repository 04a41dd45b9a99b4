"""Document frequencies of the captions that are trained on, in a file that knows of which."""

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from bua.errors import InputError
from bua.metrics.reward import DocumentFrequencies, document_frequencies
from bua.store.reader import ImageId
from bua.text.vocabulary import EOS, Vocabulary

Captions = Mapping[ImageId, Sequence[str]]


def caption_frequencies(
    captions: Captions, vocabulary: Vocabulary, *, end: bool, path: Path | str | None = None
) -> DocumentFrequencies:
    """Count n-grams of captions, or read them from a file that ``save_frequencies`` wrote.

    Args:
        captions: by image.
        vocabulary: makes words and indices of them.
        end: the end of a caption counts as a word.
        path: a file of the same captions, vocabulary and end.

    Raises:
        InputError: the file is damaged or of something else, or the vocabulary is of pieces of words.
    """
    if len(captions) < 2:
        raise InputError("rewards need captions of two images at least: with one all n-grams weigh nothing")
    if vocabulary.pieces:
        raise InputError(
            "rewards compare whole words, and this vocabulary is of pieces (sentencepiece); train on rewards "
            "with another"
        )
    if path is not None:
        return _read(Path(path), _bound(captions, vocabulary, end))
    last = [EOS] if end else []
    words = [[[*vocabulary.encode(text), *last] for text in texts] for texts in captions.values()]
    try:
        return document_frequencies(words, len(vocabulary))
    except ValueError as error:
        raise InputError(f"rewards cannot be computed: {error}") from None


def save_frequencies(
    frequencies: DocumentFrequencies, captions: Captions, vocabulary: Vocabulary, *, end: bool, path: Path
) -> None:
    """Write frequencies with what they are of."""
    np.savez(
        path,
        keys=frequencies.keys.cpu().numpy(),
        counts=frequencies.counts.cpu().numpy(),
        images=frequencies.images,
        size=frequencies.size,
        signature=frequencies.signature,
        bound=json.dumps(_bound(captions, vocabulary, end)),
    )


def _bound(captions: Captions, vocabulary: Vocabulary, end: bool) -> dict[str, object]:
    """Return what frequencies depend on."""
    digest = hashlib.sha256()
    for image_id, texts in captions.items():
        digest.update(json.dumps([image_id, list(texts)]).encode())
    return {
        "captions": digest.hexdigest(),
        "vocabulary": vocabulary.sha256,
        "tokenizer": vocabulary.tokenizer,
        "end": end,
    }


def _read(path: Path, bound: Mapping[str, object]) -> DocumentFrequencies:
    try:
        with np.load(path, allow_pickle=False) as file:
            found = dict(json.loads(str(file["bound"])))
            keys, counts = (torch.from_numpy(file[name].astype(np.int64)) for name in ("keys", "counts"))
            images, size, written = int(file["images"]), int(file["size"]), str(file["signature"])
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a file of document frequencies ({error})") from None
    for name, value in bound.items():
        if found.get(name) != value:
            what = {"captions": "other captions (another split?)", "end": f"end={found.get('end')}"}
            raise InputError(
                f"{path}: document frequencies of {what.get(name, f'another {name}')}; leave it out, and "
                "those of these captions are counted"
            )
    frequencies = DocumentFrequencies.of(keys, counts, images, size)
    if frequencies.signature != written:
        raise InputError(f"{path}: its numbers are not those that were written; leave it out")
    return frequencies
