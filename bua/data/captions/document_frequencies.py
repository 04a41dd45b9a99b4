"""Document frequencies of the training captions, in a file that identifies these captions."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bua.errors import InputError
from bua.io.schema import parse_json
from bua.io.write import write_bytes
from bua.metrics.reward import DocumentFrequencies, document_frequencies
from bua.structures.annotations import ImageId
from bua.text.vocabulary import EOS, Vocabulary

#: Captions by image.
Captions = Mapping[ImageId, Sequence[str]]


def caption_frequencies(
    captions: Captions, vocabulary: Vocabulary, *, include_eos: bool, path: Path | str | None = None
) -> DocumentFrequencies:
    """Count the n-grams of captions, or read them from a file that ``save_frequencies`` wrote.

    Args:
        captions: Captions by image.
        vocabulary: Vocabulary that turns them into word indices.
        include_eos: Whether the end of a caption counts as a word.
        path: File of the same captions, vocabulary and ``include_eos``. Default: count.

    Raises:
        InputError: If the file is damaged or does not match the arguments, the vocabulary consists of
            subwords, or there are captions of fewer than two images.
    """
    if len(captions) < 2:
        raise InputError("rewards need captions of at least two images; with one, every n-gram has weight 0")
    if vocabulary.subword_model:
        raise InputError(
            "rewards compare whole words, but this vocabulary consists of subwords (sentencepiece); train on "
            "rewards with a vocabulary of words"
        )
    if path is not None:
        return _read(Path(path), _key(captions, vocabulary, include_eos))
    end = [EOS] if include_eos else []
    words = [[[*vocabulary.encode(text), *end] for text in texts] for texts in captions.values()]
    try:
        return document_frequencies(words, len(vocabulary))
    except ValueError as error:
        raise InputError(
            f"rewards cannot be computed: {error}; a larger data.vocabulary.min_count makes it smaller, "
            "and so does objective.reward.raw_references=false"
        ) from None


def save_frequencies(
    frequencies: DocumentFrequencies,
    captions: Captions,
    vocabulary: Vocabulary,
    *,
    include_eos: bool,
    path: Path,
) -> None:
    """Write document frequencies together with what they depend on.

    Args:
        frequencies: Document frequencies of the captions.
        captions: Captions by image.
        vocabulary: Vocabulary that turns them into word indices.
        include_eos: Whether the end of a caption counts as a word.
        path: File to write, ending in ``.npz``.
    """
    content = io.BytesIO()
    np.savez(
        content,
        keys=frequencies.keys.cpu().numpy(),
        counts=frequencies.counts.cpu().numpy(),
        images=frequencies.num_images,
        size=frequencies.vocabulary_size,
        signature=frequencies.signature,
        key=json.dumps(_key(captions, vocabulary, include_eos)),
    )
    write_bytes(path, content.getvalue())


def _key(captions: Captions, vocabulary: Vocabulary, include_eos: bool) -> dict[str, object]:
    """Return the values that document frequencies depend on."""
    digest = hashlib.sha256()
    for image_id, texts in captions.items():
        digest.update(json.dumps([image_id, list(texts)]).encode())
    return {
        "captions": digest.hexdigest(),
        "vocabulary": vocabulary.sha256,
        "tokenizer": vocabulary.tokenizer,
        "include_eos": include_eos,
    }


def _read(path: Path, key: Mapping[str, object]) -> DocumentFrequencies:
    try:
        with np.load(path, allow_pickle=False) as file:
            stored_key = parse_json(str(file["key"]), dict[str, Any], path, "key")
            keys, counts = (torch.from_numpy(file[name].astype(np.int64)) for name in ("keys", "counts"))
            images, size, signature = int(file["images"]), int(file["size"]), str(file["signature"])
    except FileNotFoundError:
        raise InputError(f"{path}: file does not exist") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a file of document frequencies ({error})") from None
    for name, value in key.items():
        if stored_key.get(name) != value:
            what = {
                "captions": "other captions (another split?)",
                "include_eos": f"include_eos={stored_key.get('include_eos')}",
            }
            raise InputError(
                f"{path}: document frequencies of {what.get(name, f'another {name}')}; leave it out to count "
                "those of these captions"
            )
    frequencies = DocumentFrequencies.from_counts(keys, counts, images, size)
    if frequencies.signature != signature:
        raise InputError(f"{path}: its numbers have changed since they were written; leave it out to count")
    return frequencies
