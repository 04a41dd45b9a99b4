"""What the docstring of a class says about its arguments, read from its source without importing it."""

import ast
import re
from pathlib import Path

from bua.public_names import MODULES

_PACKAGE = Path(__file__).resolve().parents[1]
_ENTRY = re.compile(r"(\w+): (.*)")


def argument_comments(target: str) -> dict[str, str]:
    """Return what the docstring of a class of bua says about each argument; nothing about other classes.

    Args:
        target: Python path of the class.
    """
    module, _, name = target.rpartition(".")
    module = MODULES.get(name, module)
    if not module.startswith("bua."):
        return {}
    node = _find_class(module, name)
    comments: dict[str, str] = {}
    if node is None:
        return comments
    for base in node.bases:  # whose arguments a class may pass on
        if isinstance(base, ast.Name):
            comments |= argument_comments(f"{module}.{base.id}")
    return comments | {k: _as_comment(v) for k, v in _sections(ast.get_docstring(node) or "").items()}


def _as_comment(text: str) -> str:
    """Return an entry of a docstring in the style of comments, without its default, which may be another."""
    text = (
        re.sub(r" ?Default: .*?(?<!\d)\.(?= |$)| ?Default: .*", "", text).replace("``", "").removesuffix(".")
    )
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def _find_class(module: str, name: str) -> ast.ClassDef | None:
    path = _PACKAGE.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.is_file():
        return None
    body = ast.parse(file.read_text(encoding="utf-8")).body
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node
    for node in body:
        if isinstance(node, ast.ImportFrom) and node.module and name in {a.name for a in node.names}:
            return _find_class(node.module, name)
    return None


def _sections(docstring: str) -> dict[str, str]:
    """Return the entries of the sections about arguments or attributes."""
    comments: dict[str, str] = {}
    last, inside = "", False
    for line in docstring.splitlines():
        if not line.startswith(" "):
            inside = line in ("Args:", "Attributes:") or (inside and not line)
            continue
        match = _ENTRY.match(line.strip())
        if inside and match and len(line) - len(line.lstrip()) == 4:
            last = match[1]
            comments[last] = match[2]
        elif inside and last:
            comments[last] += f" {line.strip()}"
    return comments
