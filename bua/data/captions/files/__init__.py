"""Caption files in every supported format, and a validator of them."""

from bua.data.captions.files.caption_file import CaptionFile
from bua.data.captions.files.read import read_caption_file, read_captions, select_images

__all__ = ["CaptionFile", "read_caption_file", "read_captions", "select_images"]
