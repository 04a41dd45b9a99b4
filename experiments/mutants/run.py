"""Try a random sample of small changes to the code, and count those that the tests notice.

python -m experiments.mutants.run [--sample 300] [--seed 0] [--work build/mutants]

The working tree is not touched: a copy in WORK is. A second call goes on where the first one stopped; the
changes that no test noticed are tried again if the tests of their package have changed since.
"""

import argparse
import contextlib
import difflib
import hashlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent
#: Packages whose code is changed, and the tests that have to notice it.
TESTS = {
    "bua/text": ["tests/text"],
    "bua/metrics": ["tests/metrics"],
    "bua/decode": ["tests/decode"],
    "bua/store": ["tests/store"],
    "bua/data": ["tests/data", "tests/cli/test_captions_check.py", "tests/cli/test_score_captions.py"],
}
#: What takes longest to import.
LIBRARIES = ["pytest", "hypothesis", "torch", "torchvision", "pytorch_lightning"]


def prepare(work: Path) -> Path:
    """Copy the files of the working tree that git does not ignore, and return the copy."""
    checkout = work / "checkout"
    if checkout.exists():
        shutil.rmtree(checkout)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in listed.stdout.split("\0"):
        if name and os.path.lexists(ROOT / name):
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, checkout / name, follow_symlinks=False)
    shared = work / "shared"  # real data, which some tests look for beside the checkout
    if (ROOT.parent / "shared").is_dir() and not shared.exists():
        shared.symlink_to((ROOT.parent / "shared").resolve())
    # compiled files that are valid by the content of their source, as two mutants may follow within a second
    compiled = ["-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "bua"]
    subprocess.run([sys.executable, *compiled], cwd=checkout, check=True)
    return checkout


def digest(checkout: Path, paths: Iterable[str | Path]) -> str:
    """Return a hash of Python files and of those in folders, their names included."""
    total = hashlib.sha256()
    for path in paths:
        found = checkout / path
        for file in sorted(found.rglob("*.py")) if found.is_dir() else [found]:
            total.update(f"{file.relative_to(checkout)}\0".encode() + file.read_bytes())
    return total.hexdigest()[:16]


def import_libraries(modules: Iterable[str]) -> None:
    """Import what the tests import, except for the code under test, once for all forks."""
    for module in modules:
        if module not in sys.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(module)


def measure(checkout: Path, work: Path, package: str) -> dict[str, Any]:
    """Return the seconds of every test of a package that passes, and the functions that each calls.

    The tests of a file run twice, as recording makes them slower, and again if the file or the code change.
    """
    from experiments.mutants.testing import run_tests

    code, path = (
        digest(checkout, ["bua", "tests/helpers"]),
        work / f"baseline-{package.replace('/', '-')}.json",
    )
    known = json.loads(path.read_text()) if path.exists() else {}
    if known.get("code") != code:
        known = {"code": code, "modules": LIBRARIES, "files": {}}
    import_libraries(known["modules"])
    states = {str(f.relative_to(checkout)): digest(checkout, [f]) for f in _test_files(checkout, package)}
    files = {f: one for f, one in known["files"].items() if states.get(f) == one["state"]}
    if new := [file for file in states if file not in files]:
        plain = run_tests(checkout, new, stop=False)
        traced = run_tests(checkout, new, stop=False, trace=True)
        if plain.timed_out or not plain.passed:
            sys.exit(f"{package}: no test passes without a change:\n{plain.output[-2000:]}")
        print(f"{package}: {len(plain.passed)} tests, {sum(plain.passed.values()):.0f} s", flush=True)
        for test in plain.failed:
            print(f"{test}: fails without a change, left out", flush=True)
        files |= {file: {"state": states[file], "seconds": {}, "functions": {}} for file in new}
        for test, seconds in plain.passed.items():
            one = files[test.split("::")[0]]
            one["seconds"][test], one["functions"][test] = seconds, traced.functions.get(test, [])
        known |= {"files": files, "modules": sorted({*known["modules"], *traced.modules})}
        path.write_text(json.dumps(known))
        import_libraries(known["modules"])
    merged: dict[str, Any] = {
        "state": hashlib.sha256(f"{code} {sorted(states.items())}".encode()).hexdigest()
    }
    for name in ("seconds", "functions"):
        merged[name] = {test: value for one in files.values() for test, value in one[name].items()}
    return merged


def _test_files(checkout: Path, package: str) -> list[Path]:
    """Return the files of the tests of a package."""
    paths = [checkout / path for path in TESTS[package]]
    return sorted(f for path in paths for f in ([path] if path.is_file() else path.rglob("test_*.py")))


def attempt(checkout: Path, module: Path, line: int, baseline: dict[str, Any]) -> str | None:
    """Return the test that notices the change that a file has now, "time limit", or None.

    The tests that call the changed function run, the fastest first. Where none does, or the change is
    outside of functions, all tests of the package run.
    """
    from experiments.mutants.selection import enclosing_function, select_tests
    from experiments.mutants.testing import run_tests

    name = str(module.relative_to(checkout))
    start = enclosing_function((ROOT / name).read_text(encoding="utf-8"), line)
    seconds = baseline["seconds"]
    first = select_tests(baseline["functions"], seconds, name, start)
    first = [test for test in first if test in seconds]
    others = sorted(set(seconds) - set(first), key=lambda test: (seconds[test], test))
    for tests in (first, others if start is None or not first else []):
        if not tests:
            continue
        limit = 30 + 5 * sum(seconds[test] for test in tests)
        files = list(dict.fromkeys(test.split("::")[0] for test in tests))
        report = run_tests(checkout, files, order=tests, limit=limit)
        if report.timed_out:
            return "time limit"
        if report.failed:
            return report.failed[0]
        if report.status != 0:
            return f"exit status {report.status}"
    return None


def try_all(work: Path, size: int, seed: int) -> None:
    """Try all mutants of the sample that have not been tried, and write the results."""
    from cosmic_ray.mutating import use_mutation
    from cosmic_ray.plugins import get_operator
    from cosmic_ray.work_db import use_db
    from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

    from experiments.mutants.session import draw_sample, key

    checkout = prepare(work)
    state = {"code": digest(checkout, list(TESTS)), "sample": size, "seed": seed}
    about = work / "session.json"
    with use_db(work / "session.sqlite") as database:
        if not about.exists() or (known := json.loads(about.read_text())) != state | {"all": known["all"]}:
            count = draw_sample(database, checkout, list(TESTS), size, seed)
            about.write_text(json.dumps(state | {"all": count}))
        count = json.loads(about.read_text())["all"]
        baselines = {package: measure(checkout, work, package) for package in TESTS}
        started = time.monotonic()
        done = dict(database.results)
        items = [i for i in database.work_items if _is_pending(i, done, baselines, checkout)]
        for n, item in enumerate(sorted(items, key=key), 1):
            mutation = item.mutations[0]
            operator = get_operator(mutation.operator_name)()
            baseline = baselines[_package(mutation.module_path, checkout)]
            with use_mutation(mutation.module_path, operator, mutation.occurrence) as (before, after):
                caught = attempt(checkout, mutation.module_path, mutation.start_pos[0], baseline)
            note = {"tests": baseline["state"], "by": caught}
            outcome = TestOutcome.SURVIVED if caught is None else TestOutcome.KILLED
            diff = "\n".join(difflib.unified_diff(before.split("\n"), after.split("\n"), lineterm="", n=0))
            result = WorkResult(WorkerOutcome.NORMAL, json.dumps(note), outcome, diff)
            database.set_result(item.job_id, result)
            name = f"{mutation.module_path.relative_to(checkout)}:{mutation.start_pos[0]}"
            minutes = (time.monotonic() - started) / 60
            print(f"{n}/{len(items)} {minutes:.1f} min {name} {caught or 'SURVIVED'}", flush=True)
        results = summarize(database, checkout, count, size, seed)
    write_results(results)
    print_summary(results)


def _is_pending(item: Any, done: dict[str, Any], baselines: dict[str, Any], checkout: Path) -> bool:
    """Return whether a mutant has not been tried, or lived and the tests have changed since."""
    result = done.get(item.job_id)
    if result is None or result.output is None:
        return result is None
    note = json.loads(result.output)
    state = baselines[_package(item.mutations[0].module_path, checkout)]["state"]
    return note["by"] is None and note["tests"] != state


def _package(module: Path, checkout: Path) -> str:
    return "/".join(module.relative_to(checkout).parts[:2])


def summarize(database: Any, checkout: Path, count: int, size: int, seed: int) -> dict[str, Any]:
    """Return the results of all mutants of the sample that were tried, with why some change nothing."""
    from experiments.mutants.session import key

    reasons = {
        (e["file"], e["before"], e["after"]): e["why"]
        for e in json.loads((FOLDER / "equivalent.json").read_text())
    }
    mutants = []
    for item, result in sorted(database.completed_work_items, key=lambda pair: key(pair[0])):
        if result.output is None:
            continue
        mutation = item.mutations[0]
        file = str(mutation.module_path.relative_to(checkout))
        lines = result.diff.split("\n")[2:]
        before, after = (" ".join(x[1:].strip() for x in lines if x.startswith(sign)) for sign in "-+")
        mutants.append(
            {
                "file": file,
                "line": mutation.start_pos[0],
                "operator": mutation.operator_name.removeprefix("core/"),
                "before": before,
                "after": after,
                "caught_by": json.loads(result.output)["by"],
            }
        )
        if mutants[-1]["caught_by"] is None:
            mutants[-1]["why"] = reasons.get((file, before, after))
    return {
        "command": f"make mutants SAMPLE={size} SEED={seed}",
        "mutants": count,
        "sample": size,
        "seed": seed,
        "tried": mutants,
    }


def write_results(results: dict[str, Any]) -> None:
    """Write the results with a line for each mutant."""
    head = {name: value for name, value in results.items() if name != "tried"}
    rows = ",\n".join(f"  {json.dumps(mutant, ensure_ascii=False)}" for mutant in results["tried"])
    text = json.dumps(head, indent=1).removesuffix("\n}") + f',\n "tried": [\n{rows}\n ]\n}}\n'
    (FOLDER / "results.json").write_text(text, encoding="utf-8")


def print_summary(results: dict[str, Any]) -> None:
    """Print the mutants that no test noticed, and how many of each package were caught."""
    survivors = [mutant for mutant in results["tried"] if mutant["caught_by"] is None]
    for mutant in survivors:
        print(f"\n{mutant['file']}:{mutant['line']} {mutant['operator']}")
        print(f"  - {mutant['before']}\n  + {mutant['after']}\n  {mutant['why'] or 'NOT EXPLAINED'}")
    tried = Counter("/".join(m["file"].split("/")[:2]) for m in results["tried"])
    lived = Counter("/".join(m["file"].split("/")[:2]) for m in survivors)
    print()
    for package, number in tried.items():
        print(f"{package}: {number - lived[package]} of {number} caught")
    caught = len(results["tried"]) - len(survivors)
    same = sum(mutant["why"] is not None for mutant in survivors)
    print(f"all: {caught} of {len(results['tried'])} caught, {same} of the others change nothing")


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=ROOT / "build/mutants")
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    os.nice(10)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        try_all(work, options.sample, options.seed)
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on")


if __name__ == "__main__":
    main()
