"""Photographs as a detector wants them, decoded and resized in whatever process asks for them."""

from collections.abc import Mapping, Sequence

from torch.utils.data import Dataset

from bua.detectors.given_boxes import GivenBoxes
from bua.detectors.photo import read_photo
from bua.detectors.photos import PhotoFile
from bua.detectors.resize import Prepared, Resize
from bua.errors import InputError
from bua.store.reader import ImageId

Item = tuple[PhotoFile, Prepared | str]
Boxes = Mapping[ImageId, GivenBoxes]


class PhotoDataset(Dataset[Item]):
    """Photographs decoded and resized, or why one could not be."""

    def __init__(self, files: Sequence[PhotoFile], resize: Resize, boxes: Boxes | None) -> None:
        self.files, self.resize, self.boxes = files, resize, boxes

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Item:
        file = self.files[index]
        given = self.boxes.get(file.image_id) if self.boxes is not None else None
        if self.boxes is not None and given is None:
            kind = type(next(iter(self.boxes)))
            hint = "" if isinstance(file.image_id, kind) else f"; the ids there are of type {kind.__name__}"
            return file, f"{file.path}: there are no given boxes of image {file.image_id!r}{hint}"
        try:
            photo = read_photo(file.path)
        except InputError as error:
            return file, str(error)
        problem = given.problem((photo.shape[0], photo.shape[1])) if given is not None else None
        if problem is not None:
            return file, f"{file.path}: {problem}"
        return file, self.resize.prepare(photo, given.boxes if given is not None else None)
