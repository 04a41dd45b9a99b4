"""Files of captions in every format that is read, and a validator of them."""

from bua.data.captions.files.file import CaptionFile
from bua.data.captions.files.ids import read_ids
from bua.data.captions.files.read import read_caption_file, read_captions, select_images

__all__ = ["CaptionFile", "select_images", "read_captions", "read_ids", "read_caption_file"]
