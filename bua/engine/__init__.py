"""Training from a configuration, run directories, and loading trained models.

>>> from bua.engine import load, train
>>> metrics = train(config)  # doctest: +SKIP
>>> predictor = load("runs/captioner")  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

__all__ = ["load", "train", "trusting"]

if TYPE_CHECKING:
    from bua.engine.loading import load
    from bua.engine.training import train
    from bua.engine.trust import trusting


def __getattr__(name: str) -> Any:
    if name == "load":
        from bua.engine.loading import load

        return load
    if name == "train":
        from bua.engine.training import train

        return train
    if name == "trusting":
        from bua.engine.trust import trusting

        return trusting
    raise AttributeError(f"module 'bua.engine' has no attribute {name!r}")
