"""Questions and regions as batches.

Texts are not kept: words are stored as indices, answers as sparse rows of soft scores and accuracies, and
images as positions in the store. The 658,111 questions of VQA v2 train and val, with those of val again for
validation, need about 300 MB this way.

Shapes: B questions, T words, C answers.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from bua.data.image_lookup import RegionInput, match_images
from bua.data.vqa.files import QuestionFile, describe_questions
from bua.data.vqa.sparse_rows import SparseEntries, SparseRows
from bua.errors import InputError
from bua.io.schema import Report
from bua.metrics.vqa import question_accuracy
from bua.store.reader import FeatureStore
from bua.structures.annotations import ImageId, QuestionId, VQAAnnotation
from bua.structures.region_batch import RegionBatch
from bua.text.answers import AnswerVocabulary
from bua.text.vocabulary import PADDING, UNKNOWN, Vocabulary

#: Number of questions that are encoded at once.
CHUNK = 1 << 14
#: Sides on which questions may be padded.
PADDING_SIDES = ("front", "end")


class AnswerTargets(NamedTuple):
    """The official accuracies of all answers to the questions of a batch; answers not listed score 0.

    These are arrays rather than tensors because only the metric uses them, on the CPU.

    Attributes:
        accuracies: Accuracies, 0 to 1, of the answers that score.
        types: Index of the answer type of each question, shape (B,).
        counted: ``False`` for a question that only pads the batches of this process, shape (B,).
    """

    accuracies: SparseEntries
    types: NDArray[np.int32]
    counted: NDArray[np.bool_]

    def score(self, answers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the accuracy, 0 to 1, of one answer to each question, shape (B,)."""
        row, column, value = self.accuracies
        chosen = answers[row] == column
        scores: NDArray[np.float64] = np.bincount(row[chosen], value[chosen], len(answers)).astype(np.float64)
        return scores


class VQABatch(NamedTuple):
    """Questions with the regions of their images and their targets.

    Attributes:
        question_id: Ids of the questions.
        regions: Regions of the image of each question.
        words: Questions as word indices, padded in front or at the end.
        targets: Soft scores of the answers, 0 to 1.
        answer_targets: Accuracies of the answers, in validation only.
    """

    question_id: list[QuestionId]
    regions: RegionBatch
    words: Int[Tensor, "B T"]
    targets: Float[Tensor, "B C"]
    answer_targets: AnswerTargets | None


class QuestionEncoding(NamedTuple):
    """Conversion of questions to word indices.

    Attributes:
        vocabulary: Vocabulary of the questions.
        max_length: Number of words to which questions are padded or truncated.
        padding: Side on which shorter questions are padded: "front" or "end".
    """

    vocabulary: Vocabulary
    max_length: int
    padding: str

    def encode(self, texts: Iterable[str]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Return questions as padded word indices, shape (B, T), and whether each was truncated, (B,)."""
        remaining, chunks, truncated = iter(texts), [], list[bool]()
        while chunk := [self.vocabulary.encode(text) for text in islice(remaining, CHUNK)]:
            chunks.append(pad_questions(chunk, self.max_length, self.padding).int().numpy())
            truncated += [len(words) > self.max_length for words in chunk]
        return np.concatenate(chunks), np.array(truncated)


class VQADataset(Dataset[VQABatch]):
    """A data set with one example per question; a whole batch is read at once.

    A question with none of the known answers stays in the data.

    Args:
        store: Feature store with the regions of the images.
        files: Questions with their annotations.
        encoding: Conversion of questions to word indices.
        answers: Known answers.
        soft_scores: Function from the answers of the annotators to soft scores by index of the answer.
        region_input: Conversion of stored regions to the input of a model.
        report: Called with a line about each file.
        with_accuracies: Whether batches hold the official accuracies of answers. Default: no.

    Raises:
        InputError: If images of a file have no regions, or no question has a known answer (unless
            ``with_accuracies``).
    """

    def __init__(
        self,
        store: FeatureStore,
        files: Sequence[QuestionFile],
        *,
        encoding: QuestionEncoding,
        answers: AnswerVocabulary,
        soft_scores: Callable[[Sequence[str]], dict[int, float]],
        region_input: RegionInput,
        report: Report,
        with_accuracies: bool = False,
    ) -> None:
        self.store, self.region_input, self.num_answers = store, region_input, len(answers)
        annotations = [file.annotations or () for file in files]
        self._ids = _id_array(chain.from_iterable(file.ids for file in files))
        self._images = np.concatenate([_image_positions(file, store) for file in files])
        self._words, truncated = encoding.encode(chain.from_iterable(file.texts for file in files))
        self._targets = SparseRows(soft_scores(a.answers) for a in chain(*annotations))
        self.types, self._types = _number_types(a.answer_type for a in chain(*annotations))
        self._accuracies = (
            SparseRows(_accuracies(a, answers) for a in chain(*annotations)) if with_accuracies else None
        )
        if not with_accuracies and not self._targets.counts().any():
            raise InputError(
                f"{', '.join(str(file.path) for file in files)}: no question has any of the "
                f"{len(answers):,} known answers, such as {answers.answers[0]!r:.40}; give another list of "
                "answers"
            )
        flags = {
            f"without an answer in the list of {len(answers):,}": self._targets.counts() == 0,
            "with unknown words": (self._words == UNKNOWN).any(1),
            f"truncated to {encoding.max_length} words": truncated,
        }
        ends = np.cumsum([len(file) for file in files])
        for file, end in zip(files, ends, strict=True):
            rows = slice(end - len(file), end)
            counts = [f"{np.count_nonzero(flag[rows]):,} {what}" for what, flag in flags.items()]
            report(f"{describe_questions(file)}, {', '.join(counts)}")

    def stored_id(self, question_id: QuestionId) -> ImageId:
        """Return the id in the feature store of the image of a question."""
        position = int(np.flatnonzero(self._ids == question_id)[0])
        return self.store.image_ids[int(self._images[position])]

    def unknown_rate(self) -> float:
        """Return the fraction of the words of all questions that the vocabulary lacks."""
        return float((self._words == UNKNOWN).sum() / max(int((self._words != PADDING).sum()), 1))

    def num_images(self) -> int:
        """Return the number of images with questions."""
        return len(np.unique(self._images))

    def __len__(self) -> int:
        return len(self._ids)

    def __getitems__(self, indices: Sequence[int]) -> VQABatch:
        """Return a batch; an index n >= ``len(self)`` means n - ``len(self)``, not counted."""
        which = np.array(indices, np.int64)
        counted, which = which < len(self), which % len(self)
        image_ids = [self.store.image_ids[n] for n in self._images[which].tolist()]
        return VQABatch(
            question_id=self._ids[which].tolist(),
            regions=self.region_input.read(self.store, image_ids),
            words=torch.from_numpy(self._words[which]).long(),
            targets=self._targets.dense(which, self.num_answers),
            answer_targets=self._answer_targets(which, counted),
        )

    def _answer_targets(self, which: NDArray[np.int64], counted: NDArray[np.bool_]) -> AnswerTargets | None:
        if self._accuracies is None:
            return None
        return AnswerTargets(self._accuracies.entries(which), self._types[which], counted)


def pad_questions(questions: Sequence[Sequence[int]], max_length: int, padding: str) -> Int[Tensor, "B T"]:
    """Pad or truncate questions to ``max_length`` words.

    Args:
        questions: Questions as word indices.
        max_length: Number of words, T.
        padding: Side on which shorter questions are padded: "front" or "end".
    """
    rows = []
    for words in questions:
        kept = list(words[:max_length])
        gap = [PADDING] * (max_length - len(kept))
        rows.append(gap + kept if padding == "front" else kept + gap)
    return torch.tensor(rows, dtype=torch.long).view(len(questions), max_length)


def _accuracies(annotation: VQAAnnotation, answers: AnswerVocabulary) -> dict[int, float]:
    """Return the official accuracies of the known answers that score above 0, by surface form.

    An answer scores only if an annotator gave it, in whatever raw form.
    """
    scoring = answers.soft_scores(annotation.answers)
    return {n: question_accuracy(answers.surface_forms[n], annotation.answers) for n in scoring}


def _image_positions(file: QuestionFile, store: FeatureStore) -> NDArray[np.int32]:
    """Return the position in a store of the image of every question."""
    stored = match_images({i: i for i in file.image_ids}, store, str(file.path))
    position = {image_id: n for n, image_id in enumerate(store)}
    return np.array([position[stored[image_id]] for image_id in file.image_ids], np.int32)


def _number_types(names: Iterable[str]) -> tuple[list[str], NDArray[np.int32]]:
    """Return the distinct names in order of appearance, and the number of each name."""
    numbers: dict[str, int] = {}
    which = np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int32)
    return list(numbers), which


def _id_array(ids: Iterable[QuestionId]) -> NDArray[np.generic]:
    """Return ids as an array: of integers if all are, otherwise of objects."""
    listed = list(ids)
    integers = all(isinstance(i, int) for i in listed)
    return np.array(listed, np.int64 if integers else object)
