"""Questions as examples: plain arrays, however many there are.

Strings are not kept: words are indices, answers are soft scores and accuracies in sparse rows, images
are places in the store. The 658,111 questions of VQA v2 train and val, with those of val once more to
validate on, need some 300 MB so.
"""

from collections.abc import Iterable, Sequence
from itertools import chain, islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from bua.data.batch import AnswerTargets, RegionInput, VQABatch, pad_questions
from bua.data.vqa.files import QuestionFile, QuestionId
from bua.data.vqa.files.stored import stored_images
from bua.data.vqa.sparse_rows import SparseRows
from bua.errors import InputError
from bua.io.json_file import Report
from bua.metrics.vqa import VQAAnnotation, question_accuracy
from bua.store.reader import FeatureStore
from bua.text.answers import AnswerVocabulary
from bua.text.vocabulary import UNKNOWN, Vocabulary

#: Questions whose words are made into arrays at once.
PIECE = 1 << 14


class VQADataset(Dataset[VQABatch]):
    """One example a question; a whole batch is read at once.

    Args:
        store: regions of the images.
        files: the questions with their answers; a question with none of the known answers stays.
        vocabulary: words of questions.
        answers: the answers that can be chosen.
        rule: of soft scores.
        length: words a question.
        padding: "front" or "end".
        region_input: what becomes of the regions.
        report: hears what is in each file.
        judged: answers to these questions are scored, by the official accuracy.

    Raises:
        InputError: images of a file have no regions, or nothing to learn from is among the answers.
    """

    def __init__(
        self,
        store: FeatureStore,
        files: Sequence[QuestionFile],
        *,
        vocabulary: Vocabulary,
        answers: AnswerVocabulary,
        rule: str,
        length: int,
        padding: str,
        region_input: RegionInput,
        report: Report,
        judged: bool = False,
    ) -> None:
        self.store, self.region_input, self.width = store, region_input, len(answers)
        asked = [file.asked or () for file in files]
        self._ids = _compact(chain.from_iterable(file.ids for file in files))
        self._images = np.concatenate([_places(file, store) for file in files])
        texts = chain.from_iterable(file.texts for file in files)
        self._words, cut = _encoded(texts, vocabulary, length, padding)
        self._targets = SparseRows(answers.soft_scores(a.answers, rule) for a in chain(*asked))
        self.types, self._types = _numbered(a.answer_type for a in chain(*asked))
        self._accuracies = SparseRows(_accuracies(a, answers) for a in chain(*asked)) if judged else None
        wrong = {
            f"with none of the {len(answers):,} answers": self._targets.counts() == 0,
            "with unknown words": (self._words == UNKNOWN).any(1),
            f"cut to {length} words": cut,
        }
        if not judged and not self._targets.counts().any():
            raise InputError(
                f"{', '.join(str(file.path) for file in files)}: no question is answered with any of the "
                f"{len(answers):,} answers, as {answers.answers[0]!r:.40}; give another list of answers"
            )
        ends = np.cumsum([len(file) for file in files])
        for file, end in zip(files, ends, strict=True):
            counts = {what: np.count_nonzero(is_so[end - len(file) : end]) for what, is_so in wrong.items()}
            report(f"{file}, {', '.join(f'{count:,} {what}' for what, count in counts.items())}")

    def __len__(self) -> int:
        return len(self._ids)

    def __getitems__(self, indices: Sequence[int]) -> VQABatch:
        """Return a batch; an index n from ``len(self)`` on is n - ``len(self)``, and is not counted."""
        which = np.array(indices, np.int64)
        counted, which = which < len(self), which % len(self)
        return VQABatch(
            question_id=self._ids[which].tolist(),
            regions=self.region_input.load(
                self.store, [self.store.image_ids[n] for n in self._images[which].tolist()]
            ),
            words=torch.from_numpy(self._words[which]).long(),
            targets=self._targets.dense(which, self.width),
            marks=self._marks(which, counted),
        )

    def _marks(self, which: NDArray[np.int64], counted: NDArray[np.bool_]) -> AnswerTargets | None:
        if self._accuracies is None:
            return None
        return AnswerTargets(self._accuracies.numbers(which), self._types[which], counted)


def _accuracies(asked: VQAAnnotation, answers: AnswerVocabulary) -> dict[int, float]:
    """Return the official accuracy of those answers, as they are written, that are right in part at least.

    An answer is right in part only if an annotator gave it, whatever its raw form.
    """
    given = answers.soft_scores(asked.answers)
    return {n: question_accuracy(answers.surface[n], asked.answers) for n in given}


def _places(file: QuestionFile, store: FeatureStore) -> NDArray[np.int32]:
    """Return where in a store the image of every question is."""
    stored = stored_images(file.image_ids, store, str(file.path))
    place = {image_id: n for n, image_id in enumerate(store)}
    return np.array([place[stored[image_id]] for image_id in file.image_ids], np.int32)


def _encoded(
    texts: Iterable[str], vocabulary: Vocabulary, length: int, padding: str
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return questions as word indices, padded, and which of them had to be cut."""
    remaining, pieces, cut = iter(texts), [], list[bool]()
    while piece := [vocabulary.encode(text) for text in islice(remaining, PIECE)]:
        pieces.append(pad_questions(piece, length, padding).int().numpy())
        cut += [len(words) > length for words in piece]
    return np.concatenate(pieces), np.array(cut)


def _numbered(names: Iterable[str]) -> tuple[list[str], NDArray[np.int32]]:
    """Return distinct names as they come, and for every name which of them it is."""
    numbers: dict[str, int] = {}
    which = np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int32)
    return list(numbers), which


def _compact(ids: Iterable[QuestionId]) -> NDArray[np.generic]:
    """Return ids as an array, of whole numbers if all are, else of what they are."""
    listed = list(ids)
    numbers = all(isinstance(i, int) for i in listed)
    return np.array(listed, np.int64 if numbers else object)
