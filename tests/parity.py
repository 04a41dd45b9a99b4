"""Outputs of independent implementations: the folder that BUA_PARITY_DIR names."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


def load(name: str) -> Any:
    """Return the content of a parity file, or skip the test where there is none."""
    path = Path(os.environ.get("BUA_PARITY_DIR", SHARED / "parity")) / name
    if not path.exists():
        pytest.skip(f"{name} is not there; BUA_PARITY_DIR names the folder of parity files")
    return np.load(path, allow_pickle=False)


def tensor(array: Any) -> torch.Tensor:
    """Return an array as a tensor, whole numbers as int64."""
    out = torch.from_numpy(np.asarray(array))
    return out.float() if out.is_floating_point() else out.long()
