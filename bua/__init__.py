"""Bottom-up attention: image captioning and visual question answering over region features.

>>> import bua
>>> model = bua.load("runs/captioner")  # doctest: +SKIP
>>> model.caption("photo.jpg").text  # doctest: +SKIP
'a man riding a wave on a surfboard'
"""

import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from bua.engine.loading import load

#: Configurations of a checkout, where they are beside the package; in an installed package they are in it.
_CONF = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "conf")


def _add_configurations() -> None:
    """Make the folder beside the package the module ``bua.conf``, as it is in an installed package."""
    file = os.path.join(_CONF, "__init__.py")
    spec = importlib.util.spec_from_file_location("bua.conf", file, submodule_search_locations=[_CONF])
    if spec is not None:
        sys.modules["bua.conf"] = globals()["conf"] = importlib.util.module_from_spec(spec)


if not os.path.isdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "conf")):
    _add_configurations()


def __getattr__(name: str) -> Any:
    if name == "load":  # torch and hydra are imported only by those who load something
        from bua.engine.loading import load

        return load
    raise AttributeError(f"module 'bua' has no attribute {name!r}")
