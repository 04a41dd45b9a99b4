"""Initializing embeddings with word vectors and with image features of answers."""

import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bua.errors import InputError
from bua.models.vqa.classifier import TwoStreamClassifier
from bua.models.vqa.question_encoder import QuestionEncoder
from bua.text.vectors import mean_vectors, read_vectors
from bua.text.vocabulary import SPECIAL

log = logging.getLogger(__name__)
#: How words without a vector may be initialized.
MISSING_WORDS = ("zeros", "random")


def init_word_embeddings(
    model: nn.Module, path: str, words: Sequence[str], answers: Sequence[str], missing: str
) -> None:
    """Initialize the word embedding of a VQA model, and the text stream of its classifier if it has one.

    Args:
        model: VQA model with a question encoder.
        path: Text file of word vectors, one word per line.
        words: Words of questions, in the order of their indices.
        answers: Normal forms of the answers, in the order of their indices; the vector of an answer is the
            mean over its words.
        missing: How words without a vector are initialized: "zeros" (hengyuan-hu) or "random", as in the
            encoder. Answers without a vector stay random.

    Raises:
        InputError: If the file cannot be read, has vectors of another size, or has none of the words.
    """
    encoder, classifier = model.encoder, getattr(model, "classifier", None)
    assert isinstance(encoder, QuestionEncoder)
    texts = [answer.split() for answer in answers]
    size = encoder.word.embedding_dim
    vectors = read_vectors(path, {*words, *(word for text in texts for word in text)}, size)
    rows, known = mean_vectors([[] if word in SPECIAL else [word] for word in words], vectors, size)
    if not known.any():
        raise InputError(f"{path}: has none of the {len(words)} words of the questions")
    if missing == "random":
        rows[~known] = encoder.word.weight.detach().numpy()[~known]
    encoder.init_vectors(torch.from_numpy(rows))
    total = len(words) - len(SPECIAL)
    log.info(f"{path}: {known.sum():,} of {total:,} words have a vector, the others are {missing}")
    if isinstance(classifier, TwoStreamClassifier):
        rows, known = mean_vectors(texts, vectors, size)
        classifier.init_vectors("text", torch.from_numpy(rows), torch.from_numpy(known))
        log.info(f"{path}: {known.sum():,} of {len(texts):,} answers have a vector, the others stay random")


def init_caption_embeddings(model: nn.Module, path: str, words: Sequence[str]) -> None:
    """Initialize the word embedding of a captioner.

    Words without a vector, including the special tokens, are initialized randomly with the mean and standard
    deviation of the known vectors: if the vectors are also output weights, a word with a smaller vector could
    never be generated. An unknown word whose vector is zero and fixed stays so.

    Args:
        model: Captioner with an embedding ``word``.
        path: Text file of word vectors, one word per line.
        words: Words in the order of their indices.

    Raises:
        InputError: If the file cannot be read, has vectors of another size, or has none of the words.
    """
    embedding = model.word
    assert isinstance(embedding, nn.Embedding)
    vectors = read_vectors(path, words, embedding.embedding_dim)
    texts = [[] if word in SPECIAL else [word] for word in words]
    rows, known = map(torch.from_numpy, mean_vectors(texts, vectors, embedding.embedding_dim))
    if not known.any():
        raise InputError(f"{path}: has none of the {len(words)} words of the captions")
    noise = torch.randn(int((~known).sum()), rows.shape[1])
    rows[~known] = rows[known].mean(0) + rows[known].std(0, correction=0) * noise
    if embedding.padding_idx is not None:
        rows[embedding.padding_idx] = 0
    with torch.no_grad():
        embedding.weight.copy_(rows)
    total = len(words) - len(SPECIAL)
    log.info(f"{path}: {int(known.sum()):,} of {total:,} words have a vector, the others are random")


def init_answer_embeddings(model: nn.Module, path: str, answers: Sequence[str]) -> None:
    """Initialize the image stream of a classifier with image features of the answers.

    Args:
        model: VQA model with a two-stream classifier.
        path: File ``.npz`` with a vector for each answer, under its normal form.
        answers: Normal forms of the answers, in the order of their indices; answers that are not in the file
            stay random.

    Raises:
        InputError: If the model has no such stream, or the file cannot be read, has vectors of another
            size, or has none of the answers.
    """
    classifier = getattr(model, "classifier", None)
    if not isinstance(classifier, TwoStreamClassifier):
        raise InputError(f"objective.answer_images={path}: only model=updown_teney has an image stream")
    rows, known = _read_answer_vectors(path, answers, classifier.image.in_features)
    if not known.any():
        raise InputError(f"{path}: has none of the {len(answers):,} answers")
    classifier.init_vectors("image", torch.from_numpy(rows), torch.from_numpy(known))
    log.info(f"{path}: {known.sum():,} of {len(answers):,} answers have a vector, the others stay random")


def _read_answer_vectors(
    path: str, answers: Sequence[str], size: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return a vector of ``size`` numbers for each answer, and a mask of the answers in the file."""
    rows, known = np.zeros((len(answers), size), np.float32), np.zeros(len(answers), np.bool_)
    try:
        with np.load(Path(path), allow_pickle=False) as file:
            for n, answer in enumerate(answers):
                if answer in file:
                    vector = file[answer]
                    if vector.shape != (size,) or not np.isfinite(vector).all():
                        raise InputError(
                            f"{path}: {answer!r} must be {size} finite numbers (model.image_size), not "
                            f"{vector.shape}"
                        )
                    rows[n], known[n] = vector, True
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: file does not exist") from None
    except (OSError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not an .npz file of vectors ({error})") from None
    return rows, known
