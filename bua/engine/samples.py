"""A callback that sends a few captions or answers of every validation to loggers, drawn with attention."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer

from bua.detectors.photo import read_photo
from bua.detectors.photo_files import find_photos
from bua.engine.loggers import log_pictures, shows_pictures
from bua.errors import InputError, check_integer
from bua.structures.annotations import ImageId
from bua.tasks.samples import Sample, kept_random_state
from bua.visualize.attention_grid import draw_attention, empty_canvas


class SampleLogger(Callback):
    """Sends the first examples of every validation to the loggers that show pictures.

    Args:
        count: Number of images or questions; at most those of the first batch.
        images: Folder of the photos, from which the regions were extracted. Default: none; the boxes are
            then drawn on an empty canvas.

    Raises:
        InputError: If the folder does not exist or holds no photos.
        ValueError: If ``count`` is not an integer of at least 1.
    """

    def __init__(self, count: int = 3, images: str | None = None) -> None:
        check_integer("count", count, 1)
        self.count = count
        if images is not None and not Path(images).is_dir():
            raise InputError(f"images={images}: must be a folder of photos, or null")
        self._photos = {photo.image_id: photo.path for photo in find_photos(images)} if images else {}

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw and send the examples of the first batch."""
        loggers = [logger for logger in trainer.loggers if shows_pictures(logger)]
        if batch_idx or trainer.sanity_checking or not loggers or not trainer.is_global_zero:
            return
        make = getattr(pl_module, "samples", None)
        if make is None:
            return
        with kept_random_state(pl_module.device):
            samples: Sequence[Sample] = make(batch, self.count)
        data = trainer.datamodule.val_set  # type: ignore[attr-defined]
        pictures = [self._draw(sample, data) for sample in samples]
        texts = ["  \n".join(sample.lines) for sample in samples]
        if samples:
            log_pictures(loggers, "val/samples", pictures, texts, trainer.global_step)

    def _draw(self, sample: Sample, data: Any) -> Image.Image:
        stored = data.stored_id(sample.example)
        regions = data.store[stored]
        photo = self._photo(stored, regions.size)
        return draw_attention(photo, regions.boxes, sample.words, sample.attention, sample.lines)

    def _photo(self, stored: ImageId, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the pixels of an image, or an empty canvas if there is no file, or one of another size."""
        if (path := self._photos.get(stored)) is not None:
            pixels: NDArray[np.uint8] = read_photo(path)
            if pixels.shape[:2] == tuple(size):
                return pixels
        return empty_canvas(size)
