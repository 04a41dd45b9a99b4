"""What a model knows before training: vectors of words, and of images of answers."""

import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bua.errors import InputError
from bua.models.vqa.classifier import TwoStreamClassifier
from bua.models.vqa.question_encoder import QuestionEncoder
from bua.text.vectors import mean_vectors, read_vectors
from bua.text.vocabulary import SPECIAL

log = logging.getLogger(__name__)
#: What words without a vector begin as.
MISSING = ("zeros", "random")


def init_word_embeddings(
    model: nn.Module, path: str, words: Sequence[str], answers: Sequence[str], missing: str
) -> None:
    """Give a model word vectors; to its answers, too, if its classifier has a stream of text.

    Args:
        model: has a question encoder.
        path: vectors as text, a word a line.
        words: of questions, in the order of their indices.
        answers: normal forms, in the order of their indices; an answer is the mean of its words.
        missing: what a word without a vector begins as: zeros (hengyuan-hu), or random, as the encoder
            made it. An answer without one stays random.

    Raises:
        InputError: the file cannot be read, is of another width, or none of the words is in it.
    """
    encoder, classifier = model.encoder, getattr(model, "classifier", None)
    assert isinstance(encoder, QuestionEncoder)
    texts = [answer.split() for answer in answers]
    size = encoder.word.embedding_dim
    vectors = read_vectors(path, {*words, *(word for text in texts for word in text)}, size)
    rows, known = mean_vectors([[] if word in SPECIAL else [word] for word in words], vectors, size)
    if not known.any():
        raise InputError(f"{path}: none of the {len(words)} words of the questions is in it")
    if missing == "random":
        rows[~known] = encoder.word.weight.detach().numpy()[~known]
    encoder.begin(torch.from_numpy(rows))
    total = len(words) - len(SPECIAL)
    log.info(f"{path}: {known.sum():,} of {total:,} words have a vector, the others begin as {missing}")
    if isinstance(classifier, TwoStreamClassifier):
        rows, known = mean_vectors(texts, vectors, size)
        classifier.begin("text", torch.from_numpy(rows), torch.from_numpy(known))
        log.info(f"{path}: {known.sum():,} of {len(texts):,} answers have one, the others stay random")


def init_caption_embeddings(model: nn.Module, path: str, words: Sequence[str]) -> None:
    """Give a captioner word vectors.

    Words without one, among them the special words, begin at random with mean and deviation of those that
    have one: where vectors say words, too, a smaller one could never be said.

    Args:
        model: has an embedding ``word``.
        path: vectors as text, a word a line.
        words: in the order of their indices.

    Raises:
        InputError: the file cannot be read, is of another width, or none of the words is in it.
    """
    embedding = model.word
    assert isinstance(embedding, nn.Embedding)
    vectors = read_vectors(path, words, embedding.embedding_dim)
    texts = [[] if word in SPECIAL else [word] for word in words]
    rows, known = map(torch.from_numpy, mean_vectors(texts, vectors, embedding.embedding_dim))
    if not known.any():
        raise InputError(f"{path}: none of the {len(words)} words of the captions is in it")
    missing = int((~known).sum())
    rows[~known] = rows[known].mean(0) + rows[known].std(0, correction=0) * torch.randn(
        missing, rows.shape[1]
    )
    with torch.no_grad():
        embedding.weight.copy_(rows)
    total = len(words) - len(SPECIAL)
    log.info(f"{path}: {int(known.sum()):,} of {total:,} words have a vector, the others begin at random")


def init_answer_embeddings(model: nn.Module, path: str, answers: Sequence[str]) -> None:
    """Give the classifier's stream of images what images say of answers.

    Args:
        model: has a classifier of two streams.
        path: an .npz file with one vector an answer, under the answer's normal form.
        answers: normal forms, in the order of their indices; one that is not in the file stays random.

    Raises:
        InputError: the model has no such stream, the file cannot be read, is of another width, or holds
            none of the answers.
    """
    classifier = getattr(model, "classifier", None)
    if not isinstance(classifier, TwoStreamClassifier):
        raise InputError(f"objective.answer_images={path}: only model=updown_teney has a stream of images")
    size = classifier.image.in_features
    rows, known = np.zeros((len(answers), size), np.float32), np.zeros(len(answers), np.bool_)
    try:
        with np.load(Path(path), allow_pickle=False) as file:
            for n, answer in enumerate(answers):
                if answer in file:
                    vector = file[answer]
                    if vector.shape != (size,) or not np.isfinite(vector).all():
                        raise InputError(
                            f"{path}: {answer!r} is {vector.shape}; {size} finite numbers are needed "
                            "(model.image_size)"
                        )
                    rows[n], known[n] = vector, True
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not an .npz file of vectors ({error})") from None
    if not known.any():
        raise InputError(f"{path}: none of the {len(answers):,} answers is in it")
    classifier.begin("image", torch.from_numpy(rows), torch.from_numpy(known))
    log.info(f"{path}: {known.sum():,} of {len(answers):,} answers have a vector, the others stay random")
