"""Weights that others publish: from a local file, or downloaded once and verified."""

import pickle
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bua.errors import InputError


def download(url: str) -> Path:
    """Return the local copy of a published file, downloaded and verified by the hash in its name.

    The copy lies where torch keeps its own (``TORCH_HOME``).

    Raises:
        InputError: there is no copy and it cannot be downloaded.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / Path(urlparse(url).path).name
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    digest = torch.hub.HASH_REGEX.search(path.name)
    try:
        torch.hub.download_url_to_file(url, str(path), digest.group(1) if digest else None)
    except (URLError, OSError, RuntimeError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"{url} cannot be downloaded ({reason}); get {path.name} elsewhere and give weights=FILE"
        ) from None
    return path


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a ``.pth`` or ``.safetensors`` file; nothing in it is executed.

    Raises:
        InputError: it is missing, damaged, or holds something else.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file of weights")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError, SafetensorError):
        raise InputError(f"{path}: a damaged file, or not one of tensors alone") from None
    state = content.get("model", content.get("state_dict", content)) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not any(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path}: holds no dictionary of tensors")
    return {str(name): value for name, value in state.items() if isinstance(value, Tensor)}


def load_into(model: nn.Module, state: dict[str, Tensor], path: Path, what: str) -> None:
    """Load every tensor; only the counters of batch norm may be missing or too much.

    Raises:
        InputError: a tensor is missing, left over or of another shape; the first is named.
    """
    wanted = model.state_dict()
    for name in [*wanted, *(name for name in state if name not in wanted)]:
        if name.endswith("num_batches_tracked"):
            continue
        if name not in state or name not in wanted:
            where = "missing" if name not in state else "too much"
            raise InputError(f"{path}: not weights of {what}: {name} is {where}")
        if state[name].shape != wanted[name].shape:
            shapes = f"{tuple(state[name].shape)}, not {tuple(wanted[name].shape)}"
            raise InputError(f"{path}: not weights of {what}: {name} is {shapes}")
    model.load_state_dict(state, strict=False)
