"""The provenance of a result: code, versions, machine, seed and files."""

import os
import platform
import subprocess
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from bua import __version__
from bua.io.files import file_sha256
from bua.store.reader import FeatureStore


def provenance(sources: Mapping[str, str], seed: int) -> dict[str, Any]:
    """Return the provenance of a result.

    Args:
        sources: Files that were read, by role.
        seed: Seed of the random numbers.

    Returns:
        Plain values: git commit, versions of packages, hardware, seed, and hashes of the files.
    """
    import torch  # imported here, as scoring needs the hashes but not torch

    packages = ("torch", "torchvision", "pytorch-lightning", "hydra-core", "numpy", "h5py", "nltk")
    return {
        "bua": __version__,
        "git": _git(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in packages},
        "machine": {
            "platform": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpus": [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())],
        },
        "seed": seed,
        "sources": {role: {"file": str(path), **_hashes(Path(path))} for role, path in sources.items()},
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _hashes(path: Path) -> dict[str, Any]:
    """Return the hash of a file, or of a feature store the hashes of its columns, which it holds."""
    if path.suffix == ".h5":
        return {"columns": dict(FeatureStore(path).metadata.sha256)}
    return {"sha256": file_sha256(path)}


def _git() -> dict[str, Any] | None:
    """Return the commit of the checkout that bua runs from, if it is one, and whether it is clean."""
    here = Path(__file__).parents[2]
    if not (here / ".git").exists():
        return None
    try:
        commit = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "-C", str(here), "status", "--porcelain"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "clean": not changed}
