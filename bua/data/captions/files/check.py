"""Looking through a file of captions for everything that is wrong with it.

What the readers refuse and what training would miss are problems; what may be as it is meant, as the
same caption twice, is a remark.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bua.data.captions.files.file import CaptionFile
from bua.data.captions.files.read import read_caption_file
from bua.data.captions.files.stored import find_stored
from bua.store.reader import FeatureStore
from bua.text.vocabulary import UNKNOWN, Vocabulary

#: Unknown words that are named, the most frequent ones.
NAMED = 5


@dataclass(frozen=True)
class Findings:
    """What was found in a file, a line each that names it.

    Attributes:
        whole: its images, without the captions that are broken.
        file: those of the splits that are meant.
        problems: what is wrong.
        remarks: what may be meant.
    """

    whole: CaptionFile
    file: CaptionFile
    problems: list[str]
    remarks: list[str]


def check_captions(
    path: Path | str,
    *,
    splits: str | Sequence[str] = (),
    store: FeatureStore | None = None,
    image_key: str = "id",
) -> Findings:
    """Find every mistake in a file of captions.

    Args:
        path: the file, in any format.
        splits: look for missing captions and regions, and for captions that come twice, only in these.
        store: has to hold the regions of every image.
        image_key: what of the file names an image in the store, "id" or "file_name".

    Raises:
        InputError: it is no file of captions at all, or there is no such split or key.
    """
    problems: list[str] = []
    whole = read_caption_file(path, problems.append)
    file = whole.of_splits([splits] if isinstance(splits, str) else list(splits))
    remarks = list(_twice(file))
    without = [image_id for image_id, captions in file.captions.items() if not captions]
    if without and len(without) == len(file.captions):
        remarks.append(f"{path}: no image has captions; the file is of use for prediction alone")
    else:
        problems += [f"{path}: image {image_id} has no captions" for image_id in without]
    if store is not None:
        stored, missing = find_stored(file, list(file.captions), store, image_key)
        name = {i: i if image_key == "id" else f"{i} ({file.file_names[i]})" for i in missing}
        problems += [f"{path}: image {name[i]} has no regions in {store.path}" for i in missing]
        problems += store.claimed_twice(stored, str(path))
    return Findings(whole, file, problems, remarks)


def _twice(file: CaptionFile) -> Iterator[str]:
    """Yield a line for every caption that an image has more than once."""
    for image_id, captions in file.captions.items():
        for caption, count in Counter(captions).items():
            if count > 1:
                yield f"{file.path}: image {image_id} has the caption {caption!r} {count} times"


def wordless(file: CaptionFile, vocabulary: Vocabulary) -> Iterator[str]:
    """Yield a line for every caption of which a vocabulary makes no word, as of punctuation alone."""
    for image_id, captions in file.captions.items():
        for caption in captions:
            if not vocabulary.tokenize(caption):
                yield f"{file.path}: image {image_id} has the caption {caption!r}, which has no word"


def count_words(file: CaptionFile, vocabulary: Vocabulary, max_length: int) -> Iterator[str]:
    """Yield what a vocabulary makes of a file, a line each.

    Args:
        file: the captions.
        vocabulary: its tokeniser and the words that it knows.
        max_length: captions with more of them are counted.
    """
    unknown, lengths = Counter[str](), list[int]()
    for captions in file.captions.values():
        for caption in captions:
            tokens, indices = vocabulary.tokenize(caption), vocabulary.encode(caption)
            lengths.append(len(tokens))
            unknown.update(t for t, index in zip(tokens, indices, strict=True) if index == UNKNOWN)
    words, long = sum(lengths), sum(length > max_length for length in lengths)
    split = "".join(f"; {name}" for name in [file.split_names()] if name)
    yield (
        f"{file.path}: {file.format}, {len(file.captions):,} images, {len(lengths):,} captions, "
        f"{words:,} words{split}"
    )
    if long:
        yield f"{file.path}: {long:,} captions have more than {max_length} words and are cut in training"
    if words:
        most = ", ".join(f"{word} ({count:,})" for word, count in unknown.most_common(NAMED))
        share = unknown.total() / words
        yield (
            f"{file.path}: {share:.2%} of the words ({unknown.total():,}) are unknown"
            f"{f', the most frequent {most}' if most else ''}"
        )
