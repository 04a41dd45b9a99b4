"""Building objects from configurations: the one place that may, from an allow-list of modules."""

import functools
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from bua.errors import InputError

#: What a configuration may name in ``_target_``; everything else is refused before it is imported.
ALLOWED = ("bua.", "torch.optim.", "pytorch_lightning.", "torchmetrics.")


def build(config: Any, **values: Any) -> Any:
    """Build what ``config`` describes, with ``values`` as further keyword arguments.

    Raises:
        InputError: a ``_target_`` lies outside the allow-list.
    """
    plain = OmegaConf.create(to_plain(config))
    for key, target in targets(plain):
        if not target.startswith(ALLOWED):
            raise InputError(f"{key}: {target} may not be built; it must begin with {', '.join(ALLOWED)}")
    factory = instantiate(plain, _partial_=True, _convert_="all")
    # The values never become configuration: what they hold is not to be built.
    return functools.partial(factory, **values) if plain.get("_partial_") else factory(**values)


def targets(config: Any, key: str = "") -> list[tuple[str, str]]:
    """Return every ``_target_`` in a configuration with its key."""
    if isinstance(config, ListConfig | list):
        pairs = [(f"{key}[{n}]", value) for n, value in enumerate(config)]
    elif isinstance(config, DictConfig | dict):
        pairs = [(f"{key}.{name!s}".strip("."), value) for name, value in config.items()]
    else:
        return []
    here = [(name, str(value)) for name, value in pairs if name.split(".")[-1] == "_target_"]
    return here + [found for name, value in pairs for found in targets(value, name)]


def to_plain(config: Any) -> Any:
    """Return a configuration as dictionaries, lists and values, everything resolved."""
    if isinstance(config, DictConfig | ListConfig):
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    return config
