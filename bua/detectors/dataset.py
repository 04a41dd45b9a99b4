"""Input of an extraction: images decoded and resized ahead of the detector, in batches of one size."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from torch.utils.data import Dataset

from bua.detectors.given_boxes import GivenBoxes
from bua.detectors.photo import PreparedImage, Resize, read_photo
from bua.detectors.photo_files import PhotoFile
from bua.detectors.photo_remarks import Remark
from bua.errors import InputError
from bua.io.workers import WorkerLoader

#: An image file with the prepared image, or with the reason why there is none.
Item = tuple[PhotoFile, PreparedImage | str]
Batch = list[tuple[PhotoFile, PreparedImage]]

#: Maximum number of pixels of a batch of resized images.
BATCH_PIXELS = 8_000_000


class PhotoDataset(Dataset[Item]):
    """Images that are decoded and resized, each with its given boxes if there are any.

    An image that cannot be used is returned as the reason why, so that one of them does not stop the rest.

    Args:
        photos: Image files.
        resize: Rule by which images are resized.
        boxes: Given boxes that every image must have, or None to use proposals.
        stretch_gray: Whether grays of more than 8 bits are scaled from the range of values of their image.
    """

    def __init__(
        self,
        photos: Sequence[PhotoFile],
        resize: Resize,
        boxes: GivenBoxes | None,
        *,
        stretch_gray: bool = False,
    ) -> None:
        self.photos, self.resize, self.boxes, self.stretch_gray = photos, resize, boxes, stretch_gray

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Item:
        photo = self.photos[index]
        try:
            return photo, self._prepare(photo)
        except InputError as error:
            return photo, str(error)

    def _prepare(self, photo: PhotoFile) -> PreparedImage:
        remarks: list[Remark] = []
        given = None if self.boxes is None else self.boxes.for_image(photo.image_id, photo.path)
        pixels = read_photo(photo.path, stretch_gray=self.stretch_gray, report=remarks.append)
        boxes = None if given is None else given.for_photo((pixels.shape[0], pixels.shape[1]), photo.path)
        return replace(self.resize.prepare(pixels, boxes), remarks=tuple(remarks))


def load_ahead(dataset: PhotoDataset, num_workers: int, ahead: int) -> Iterator[Item]:
    """Return the items of a dataset in order, prepared in worker processes before they are needed.

    Args:
        dataset: Dataset to iterate over.
        num_workers: Number of worker processes; 0 prepares every item when it is needed.
        ahead: Minimum number of items that the workers together prepare in advance.
    """
    prefetch_factor = -(-ahead // num_workers) if num_workers else None
    loader = WorkerLoader(
        dataset,
        batch_size=None,
        num_workers=num_workers,
        collate_fn=_identity,
        prefetch_factor=prefetch_factor,
    )
    return iter(loader)


def _identity(item: Any) -> Any:
    return item


def batch_by_size(images: Iterable[tuple[PhotoFile, PreparedImage]], batch_size: int) -> Iterator[Batch]:
    """Group images by size into batches of at most ``batch_size`` images and ``BATCH_PIXELS`` pixels."""
    groups: dict[tuple[int, int], Batch] = {}
    for photo, image in images:
        groups.setdefault(image.geometry.resized_size, []).append((photo, image))
    for (height, width), group in groups.items():
        size = min(batch_size, max(1, BATCH_PIXELS // (height * width)))
        for start in range(0, len(group), size):
            yield group[start : start + size]
