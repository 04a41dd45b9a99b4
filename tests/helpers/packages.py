"""Packages of somebody else, written for a test."""

from pathlib import Path

import pytest

#: A captioner that is a subclass of one of bua.
CAPTIONER = """
import os

from bua.models.captioners.mean_pooled import MeanPooledCaptioner

TRUSTED = os.environ.get("BUA_TRUST")


class OwnCaptioner(MeanPooledCaptioner):
    pass
"""


def write_package(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str, **modules: str) -> str:
    """Write a package with further modules where Python finds it, and return its name, which is unique."""
    name = "own_" + "".join(c if c.isalnum() else "_" for c in folder.name)
    (folder / name).mkdir()
    for module, text in {"__init__": code, **modules}.items():
        (folder / name / f"{module}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    return name
