"""Validation of a caption file.

Whatever the readers reject or training would leave out is a problem; what may be intended, such as a caption
that an image has twice, is a remark.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bua.data.captions.dataset import caption_image_names
from bua.data.captions.files.caption_file import CaptionFile, read_caption_file
from bua.data.image_lookup import find_images
from bua.store.reader import FeatureStore
from bua.text.vocabulary import UNKNOWN, Vocabulary

#: Number of unknown words that are listed, the most frequent ones.
LISTED_WORDS = 5


@dataclass(frozen=True)
class CaptionFindings:
    """Findings about a caption file; every line names the file.

    Attributes:
        all_images: All images of the file, without invalid captions.
        file: The images of the chosen splits.
        problems: Mistakes, one line per problem.
        remarks: Observations that may be intended, one line per remark.
    """

    all_images: CaptionFile
    file: CaptionFile
    problems: list[str]
    remarks: list[str]


def check_captions(
    path: Path | str,
    *,
    splits: str | Sequence[str] = (),
    store: FeatureStore | None = None,
    image_key: str = "id",
) -> CaptionFindings:
    """Find every mistake in a caption file.

    Args:
        path: Path of the file, in any format.
        splits: Splits in which to look for missing captions, missing regions and duplicate captions.
            Default: all.
        store: Feature store that must hold the regions of every image. Default: none.
        image_key: Field of the file that identifies an image in the store: "id" or "file_name".

    Raises:
        InputError: If it is not a caption file, or the split or key does not exist.
    """
    problems: list[str] = []
    all_images = read_caption_file(path, problems.append)
    file = all_images.select_splits([splits] if isinstance(splits, str) else list(splits))
    remarks = list(_duplicates(file))
    captionless = [image_id for image_id, captions in file.captions.items() if not captions]
    if captionless and len(captionless) == len(file.captions):
        remarks.append(f"{path}: no image has captions; the file can only be used for prediction")
    else:
        problems += [f"{path}: image {image_id} has no captions" for image_id in captionless]
    if store is not None:
        found, missing = find_images(caption_image_names(file, list(file.captions), image_key), store)
        name = {i: i if image_key == "id" else f"{i} ({file.file_names[i]})" for i in missing}
        problems += [f"{path}: image {name[i]} has no regions in {store.path}" for i in missing]
        problems += store.duplicate_claims(found, str(path))
    return CaptionFindings(all_images, file, problems, remarks)


def _duplicates(file: CaptionFile) -> Iterator[str]:
    """Yield a line for every caption that an image has more than once."""
    for image_id, captions in file.captions.items():
        for caption, count in Counter(captions).items():
            if count > 1:
                yield f"{file.path}: image {image_id} has the caption {caption!r} {count} times"


def find_wordless_captions(file: CaptionFile, vocabulary: Vocabulary) -> Iterator[str]:
    """Yield a line for every caption without a word, such as one of punctuation alone."""
    for image_id, captions in file.captions.items():
        for caption in captions:
            if not vocabulary.tokenize(caption):
                yield f"{file.path}: image {image_id} has the caption {caption!r}, which has no word"


def describe_words(file: CaptionFile, vocabulary: Vocabulary, max_length: int) -> Iterator[str]:
    """Yield lines about the words of a caption file.

    Args:
        file: File of captions.
        vocabulary: Vocabulary with the tokenizer and the known words.
        max_length: Number of words beyond which a caption counts as long.
    """
    unknown, lengths = Counter[str](), list[int]()
    for captions in file.captions.values():
        for caption in captions:
            tokens, indices = vocabulary.tokenize(caption), vocabulary.encode(caption)
            lengths.append(len(tokens))
            unknown.update(t for t, index in zip(tokens, indices, strict=True) if index == UNKNOWN)
    words, long = sum(lengths), sum(length > max_length for length in lengths)
    splits = f"; {file.split_names()}" if file.splits else ""
    yield (
        f"{file.path}: {file.format}, {len(file.captions):,} images, {len(lengths):,} captions, "
        f"{words:,} words{splits}"
    )
    if long:
        yield (
            f"{file.path}: {long:,} captions have more than {max_length} words and are truncated in training"
        )
    if words:
        listed = ", ".join(f"{word} ({count:,})" for word, count in unknown.most_common(LISTED_WORDS))
        yield (
            f"{file.path}: {unknown.total() / words:.2%} of the words ({unknown.total():,}) are unknown"
            f"{f', most frequently {listed}' if listed else ''}"
        )
