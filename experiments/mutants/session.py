"""The session of Cosmic Ray: all mutants of some packages, of which a random sample is tried."""

import ast
import random
import re
import warnings
from pathlib import Path

from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import MutationSpec, WorkerOutcome, WorkItem, WorkResult


def draw_sample(database: WorkDB, checkout: Path, packages: list[str], size: int, seed: int) -> int:
    """Fill a session with all mutants and mark those outside the sample as skipped; return their number.

    What says nothing about the tests is left out: annotations, which are not run, the star of keyword-only
    arguments, and mutants that are not valid Python.
    """
    modules = [file for package in packages for file in sorted((checkout / package).rglob("*.py"))]
    init(modules, database, {})
    annotations = {file: _annotations(file) for file in modules}
    items = [i for i in database.work_items if not _is_within(i.mutations[0], annotations)]
    items.sort(key=key)
    random.Random(seed).shuffle(items)
    chosen = set[str]()
    for item in items:
        if len(chosen) < size and _is_valid(item.mutations[0]):
            chosen.add(item.job_id)
    others = [item.job_id for item in database.work_items if item.job_id not in chosen]
    database.set_multiple_results(others, WorkResult(WorkerOutcome.SKIPPED))
    return len(items)


def key(item: WorkItem) -> tuple[str, str, int]:
    """Return what identifies a mutant of one state of the code: file, operator and its position."""
    mutation = item.mutations[0]
    return str(mutation.module_path), mutation.operator_name, mutation.occurrence


def _annotations(file: Path) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return where the annotations of a file begin and end."""
    ranges = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        for name in ("annotation", "returns"):
            found = getattr(node, name, None)
            if isinstance(found, ast.expr):
                end = (found.end_lineno or found.lineno, found.end_col_offset or 0)
                ranges.append(((found.lineno, found.col_offset), end))
    return ranges


def _is_valid(mutation: MutationSpec) -> bool:
    """Return whether a mutant is valid Python and not only another kind of parameter."""
    source = mutation.module_path.read_text(encoding="utf-8")
    row, column = mutation.start_pos
    if re.match(r"\*,", source.split("\n")[row - 1][column:]):
        return False
    mutant = mutate_code(source, get_operator(mutation.operator_name)(), mutation.occurrence)
    with warnings.catch_warnings(action="ignore"):
        try:
            compile(mutant, "mutant", "exec")
        except SyntaxError:
            return False
    return True


def _is_within(
    mutation: MutationSpec, annotations: dict[Path, list[tuple[tuple[int, int], tuple[int, int]]]]
) -> bool:
    return any(begin <= mutation.start_pos < end for begin, end in annotations[mutation.module_path])
