"""Weight files that others publish: local ones, or downloaded once and verified."""

import pickle
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bua.errors import InputError
from bua.io.files import check_archive, file_sha256, read_json


def download(url: str) -> Path:
    """Return the local copy of a published file, downloading and verifying it if there is none.

    The copy is kept where torch keeps its own (``TORCH_HOME``), and verified by the hash in its name.

    Raises:
        InputError: If there is no copy and the file cannot be downloaded.
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
            f"{url}: cannot be downloaded ({reason}); get {path.name} elsewhere and pass weights=FILE"
        ) from None
    return path


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    If a JSON file of the same name lies beside it, as ``bua export-detector`` writes one, the file must have
    the hash in it.

    Raises:
        InputError: If the file is damaged.
    """
    about = path.with_suffix(".json")
    content = read_json(about) if about.is_file() else None
    expected = None
    if isinstance(content, dict) and content.get("weights") == path.name:
        expected = content.get("sha256")
    if expected is not None and file_sha256(path) != expected:
        raise InputError(f"{path}: damaged: its hash is not the one in {about.name}; get the file again")
    return load_file(path)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a ``.pth`` or ``.safetensors`` file without executing anything in it.

    Raises:
        InputError: If the file does not exist, is damaged, or holds anything but tensors.
    """
    if not path.is_file():
        raise InputError(f"{path}: weight file does not exist")
    try:
        if path.suffix == ".safetensors":
            return read_safetensors(path)
        check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError, SafetensorError):
        raise InputError(f"{path}: damaged, or holds more than tensors") from None
    state = content.get("model", content.get("state_dict", content)) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not any(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path}: does not hold a dictionary of tensors")
    return {str(name): value for name, value in state.items() if isinstance(value, Tensor)}


def load_state_dict(model: nn.Module, state: dict[str, Tensor], path: Path, network: str) -> None:
    """Load a complete state dict; only the counters of batch norms may be missing or left over.

    Args:
        model: Model to load the tensors into.
        state: Tensors by the names that they have in the model.
        path: File that the tensors come from, for messages.
        network: Name of the model's architecture, for messages.

    Raises:
        InputError: If a tensor is missing, unexpected, of another shape, or not finite; the first one is
            named.
    """
    expected = model.state_dict()
    for name in [*expected, *(name for name in state if name not in expected)]:
        if name.endswith("num_batches_tracked"):
            continue
        if name not in state or name not in expected:
            problem = "missing" if name not in state else "unexpected"
            raise InputError(f"{path}: not weights of {network}: {name} is {problem}")
        if state[name].shape != expected[name].shape:
            shapes = f"has shape {tuple(state[name].shape)}, expected {tuple(expected[name].shape)}"
            raise InputError(f"{path}: not weights of {network}: {name} {shapes}")
        if not torch.isfinite(state[name]).all():
            raise InputError(f"{path}: damaged: {name} has values that are not finite")
    model.load_state_dict(state, strict=False)
