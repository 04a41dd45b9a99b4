"""Bottom-up attention: image captioning and visual question answering over region features."""

__version__ = "0.1.0"
