"""Files of captions in every format that is read, and a validator of them."""

from bua.data.captions.files.file import CaptionFile
from bua.data.captions.files.ids import read_ids
from bua.data.captions.files.read import choose, read_captions, read_whole

__all__ = ["CaptionFile", "choose", "read_captions", "read_ids", "read_whole"]
