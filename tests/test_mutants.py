"""Mutants: which tests are chosen for a change, and what the tables say about those that no test notices."""

import pytest

from experiments.mutants.run import TESTS, digest
from experiments.mutants.selection import enclosing_function, select_tests
from experiments.mutants.testing import run_tests
from experiments.readme import mutants
from tests.helpers.parity import ROOT

SOURCE = """import functools

LIMIT = 3


@functools.cache
def outer(a=1):
    def inner():
        return a

    return inner
"""


@pytest.mark.parametrize(("line", "start"), [(3, None), (6, 6), (7, 6), (8, 8), (9, 8), (11, 6)])
def test_a_change_belongs_to_the_innermost_function_with_its_decorators(line, start) -> None:
    assert enclosing_function(SOURCE, line) == start


def test_tests_that_call_the_changed_function_are_chosen_fastest_first() -> None:
    functions = {"a": [("f.py", 6)], "b": [("f.py", 8), ("f.py", 6)], "c": [("g.py", 6)], "d": [("f.py", 8)]}
    seconds = {"a": 2.0, "b": 1.0, "c": 0.1, "d": 3.0}
    assert select_tests(functions, seconds, "f.py", 6) == ["b", "a"]
    assert select_tests(functions, seconds, "f.py", None) == ["b", "a", "d"]
    assert select_tests(functions, seconds, "h.py", None) == []


def test_every_package_has_tests() -> None:
    for package, paths in TESTS.items():
        assert (ROOT / package).is_dir()
        assert all((ROOT / path).exists() for path in paths)


def test_a_hash_changes_with_names_and_contents(tmp_path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.py").write_text("1")
    first = digest(tmp_path, ["a"])
    assert digest(tmp_path, ["a"]) == first
    (tmp_path / "a/x.py").write_text("2")
    second = digest(tmp_path, ["a"])
    (tmp_path / "a/x.py").rename(tmp_path / "a/y.py")
    assert len({first, second, digest(tmp_path, ["a"])}) == 3


CHECKOUT = {
    "bua/code.py": "def double(n):\n    return 2 * n\n\n\ndef never():\n    return 1\n",
    "bua/__init__.py": "",
    "tests/__init__.py": "",
    "tests/test_code.py": """import time

import pytest

from bua.code import double


@pytest.fixture(scope="session")
def four():
    return double(2)


def test_a(four):
    assert four == 4


def test_b(four):
    assert four + 0 == 4


def test_wrong():
    assert double(2) == 5


def test_hangs():
    while True:
        time.sleep(1)
""",
}


def test_tests_run_in_a_fork_in_the_given_order_until_one_fails_or_takes_too_long(tmp_path) -> None:
    """With what a fixture calls counted for every test that uses it."""
    checkout = tmp_path / "checkout"
    for name, content in CHECKOUT.items():
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(content)
    ids = {name: f"tests/test_code.py::test_{name}" for name in ("a", "b", "wrong", "hangs")}

    def run(*names: str, **options):
        return run_tests(checkout, ["tests"], order=[ids[name] for name in names], **options)

    found = run("b", "a", trace=True)
    assert (found.status, found.failed, list(found.passed)) == (0, [], [ids["b"], ids["a"]])
    assert {test: ("bua/code.py", 1) in map(tuple, f) for test, f in found.functions.items()} == {
        ids["b"]: True,
        ids["a"]: True,
    }
    found = run("a", "wrong", "hangs")
    assert (found.failed, list(found.passed), found.timed_out) == ([ids["wrong"]], [ids["a"]], False)
    assert run("hangs", limit=4).timed_out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkout"]


def make_results(**changes: object) -> dict:
    mutant = {"file": "bua/text/a.py", "line": 3, "operator": "X", "before": "a | b", "after": "a ^ b"}
    tried = [{**mutant, "caught_by": "t"}] * 8 + [{**mutant, "caught_by": None, "why": "no reason"}]
    tried += [{**mutant, "caught_by": None, "why": None}]
    return {"command": "make mutants", "mutants": 2000, "sample": 10, "seed": 0, "tried": tried, **changes}


def test_mutants_that_change_nothing_are_left_out_of_the_rate_and_listed_with_the_reason() -> None:
    text = mutants(make_results())
    assert "| bua/text | 10 | 8 | 1 | 1 | 88.9 % |" in text
    assert "| all | 10 | 8 | 1 | 1 | 88.9 % |" in text
    assert r"| `bua/text/a.py:3` | `a \| b` | `a ^ b` | no reason |" in text
    assert "have been tried" not in text
    assert "10 of them have been tried." in mutants(make_results(sample=300))
