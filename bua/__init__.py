"""Bottom-up attention: image captioning and visual question answering over region features.

>>> import bua
>>> model = bua.load("runs/captioner")  # doctest: +SKIP
>>> model.caption("photo.jpg").text  # doctest: +SKIP
'a man riding a wave on a surfboard'
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from bua.engine.loading import load


def __getattr__(name: str) -> Any:
    if name == "load":  # torch and hydra are imported only by those who load something
        from bua.engine.loading import load

        return load
    raise AttributeError(f"module 'bua' has no attribute {name!r}")
