"""Compose configurations of ``conf`` and build models from them."""

import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from bua.engine.instantiate import instantiate
from tests.helpers.parity import ROOT

#: All options of the group ``model``.
MODELS = sorted(file.stem for file in (ROOT / "conf" / "model").glob("*.yaml"))


def compose_config(name: str, *overrides: str) -> DictConfig:
    """Return the configuration of a command."""
    with initialize_config_module("bua.conf", version_base="1.3"):
        return compose(name, list(overrides), return_hydra_config=False)


def target(name: str) -> str:
    """Return the Python path of the class of a model."""
    return str(compose_config("train", f"model={name}").model._target_)


def build_model(name: str, *overrides: str, **sizes: int) -> torch.nn.Module:
    """Build a model at the size of its configuration; ``sizes`` that it does not have are ignored."""
    config = compose_config("train", f"model={name}", *overrides).model
    for key in set(sizes) & set(config):
        config[key] = sizes[key]
    model: torch.nn.Module = instantiate(OmegaConf.to_container(config, resolve=True))
    return model


def linear_parameters(inputs: int, outputs: int, biases: int = 1) -> int:
    """Return the number of parameters of a linear layer with a number of bias vectors."""
    return inputs * outputs + biases * outputs
