"""Outputs of independent implementations: the folder that BUA_PARITY_DIR names."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"


def path(name: str) -> Path:
    """Return a parity file, or skip the test where there is none."""
    file = Path(os.environ.get("BUA_PARITY_DIR", SHARED / "parity")) / name
    if "BUA_PARITY_DIR" in os.environ:
        assert file.exists(), f"BUA_PARITY_DIR has no {name}"
    if not file.exists():
        pytest.skip(f"{name} is not there; BUA_PARITY_DIR names the folder of parity files")
    return file


def load(name: str) -> Any:
    """Return the content of a parity file, or skip the test where there is none."""
    return np.load(path(name), allow_pickle=False)


def tensor(array: Any) -> torch.Tensor:
    """Return an array as a tensor, whole numbers as int64."""
    out = torch.from_numpy(np.asarray(array))
    return out.float() if out.is_floating_point() else out.long()
