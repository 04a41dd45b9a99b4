"""Files of captions in every format that is read, and a validator of them."""

from bua.data.caption_files.file import CaptionFile
from bua.data.caption_files.ids import read_ids
from bua.data.caption_files.read import choose, read_captions, read_whole

__all__ = ["CaptionFile", "choose", "read_captions", "read_ids", "read_whole"]
