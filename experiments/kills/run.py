"""Kill commands at random moments, run them again, and compare what they wrote with an undisturbed run.

python -m experiments.kills.run kills=40 out=FOLDER [seed=0] [only=train,score]

Each command is started in a forked process and killed with SIGKILL at a moment drawn uniformly from the
duration of an undisturbed run, up to three times, before it is run to its end. Then its files must equal
those of the undisturbed run, nothing else may lie beside them, and no process may be left. It is done once
with everything on one file system, and once with the results on another than TMPDIR (a tmpfs, for root).
"""

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bua.cli import main
from bua.engine.loading import read_checkpoint
from bua.store.reader import FeatureStore

#: How often a command is killed before it may end.
KILLS_IN_A_ROW = 3
#: By how much fewer kills a command gets that runs for minutes.
FEWER = {"quickstart": 4}
#: Seconds after which the processes of a killed command must be gone.
GRACE = 15
#: Files whose content names the moment or the process, and so differs between equal runs.
VARYING = ("status.json", "provenance.json", "overrides.yaml", "train.lock")
SMALL_MODEL = (
    "model.word_size=16",
    "model.hidden_size=32",
    "model.attention_size=16",
    "trainer.accelerator=cpu",
)
COUNTS = ("train=60", "val=12", "test=12", "novel=6")


@dataclass(frozen=True)
class Command:
    """A command with what it needs to run again.

    Attributes:
        words: The command without its output.
        key: Key of the output.
        output: Name of the output in the folder.
        resume: Words that are added if the command was killed before.
    """

    words: tuple[str, ...]
    key: str
    output: str
    resume: tuple[str, ...] = ()


def commands(data: Path) -> dict[str, Command]:
    """Return the commands; ``data`` has scenes, regions, a run and predictions that they read."""
    scenes, features, run = data / "scenes", data / "regions.h5", data / "run"
    caption = ("experiment=caption_scenes", f"scenes={scenes}", f"features={features}", *SMALL_MODEL)
    references, predictions = scenes / "captions_val.json", data / "predictions.json"
    return {
        "train": Command(
            ("train", *caption, "trainer.max_epochs=3", "data.batch_size=8", "save_every=2", "seed=3"),
            "out",
            "run",
            ("resume=true",),
        ),
        "extract": Command(
            ("extract", f"images={scenes / 'images'}", "detector=random", "shard_size=10", "num_workers=1"),
            "out",
            "regions.h5",
        ),
        "predict": Command(
            ("predict", f"run={run}", f"features={features}", f"images={references}"),
            "out",
            "captions.json",
        ),
        "score": Command(
            ("score", "task=caption", f"references={references}", f"predictions={predictions}"),
            "out",
            "s.json",
        ),
        "import": Command(
            ("features", "import", f"source={data / 'exported.tsv'}", "format=pa_tsv"),
            "out",
            "i.h5",
        ),
        "quickstart": Command(
            ("quickstart", *COUNTS, "epochs=1", "num_workers=2", "questions_per_image=4"), "out", "quickstart"
        ),
    }


def run_in_child(words: tuple[str, ...], log: Path) -> None:
    """Run a command, with its output in a file, and exit with its code."""
    os.setsid()
    torch.set_num_threads(1)  # threads do not survive a fork
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os._exit(main(list(words)))


def start(words: tuple[str, ...], log: Path) -> multiprocessing.Process:
    """Start a command in a forked process."""
    process = multiprocessing.get_context("fork").Process(target=run_in_child, args=(words, log))
    process.start()
    return process


def members(session: int) -> list[int]:
    """Return the living processes of a session."""
    found = subprocess.run(["pgrep", "-s", str(session)], capture_output=True, text=True, check=False).stdout
    return [int(pid) for pid in found.split() if _is_alive(int(pid))]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def fingerprint(path: Path) -> dict[str, str]:
    """Return a hash of the content of every file at a path, by its name in it."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return {str(p.relative_to(path.parent)): _content_hash(p) for p in files if p.name not in VARYING}


def _content_hash(path: Path) -> str:
    """Return a hash of what a file says, without the times and names of processes that it records."""
    if path.suffix == ".ckpt":
        record, state = read_checkpoint(path)
        parts = [repr(record).encode(), *(state[name].numpy().tobytes() for name in sorted(state))]
        return hashlib.sha256(b"".join(parts)).hexdigest()
    if path.suffix == ".h5":
        store = FeatureStore(path)
        return hashlib.sha256(repr((store.image_ids, dict(store.metadata.sha256))).encode()).hexdigest()
    if path.suffix == ".csv":
        rows = [line.split(",") for line in path.read_text().splitlines()]
        timed = rows[0].index("seconds")
        return hashlib.sha256(repr([row[:timed] + row[timed + 1 :] for row in rows]).encode()).hexdigest()
    if path.suffix == ".json":
        return hashlib.sha256(json.dumps(_timeless(json.loads(path.read_text()))).encode()).hexdigest()
    if path.suffix in (".html", ".yaml"):  # a report shows durations; a configuration says whether it resumed
        return "present"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _timeless(content: Any) -> Any:
    """Return plain values without durations, paths of the output, and versions of the moment."""
    if isinstance(content, dict):
        left_out = ("seconds", "images_per_second", "created", "started", "stages", "provenance")
        return {key: _timeless(value) for key, value in content.items() if key not in left_out}
    return [_timeless(value) for value in content] if isinstance(content, list) else content


@contextmanager
def other_file_system(folder: Path) -> Iterator[None]:
    """Mount a tmpfs on a folder."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def kill_in_a_row(
    command: Command, folder: Path, seconds: float, kills: int, rng: random.Random
) -> dict[str, Any]:
    """Kill a command several times, run it to its end, and describe what happened."""
    words = (*command.words, f"{command.key}={folder / command.output}")
    log, left, lines = folder / "log.txt", 0, []
    log.touch()  # the command may be killed before it does so
    done = moments = 0
    again: tuple[str, ...] = ()
    for _ in range(kills):
        process = start((*words, *again), log)
        process.join(rng.uniform(0, seconds))
        if process.is_alive():
            moments += 1
        process.kill()
        process.join()
        lines.append(log.read_text()[-300:])
        done += process.exitcode == 0
        deadline = time.monotonic() + GRACE
        while (alive := members(process.pid or 0)) and time.monotonic() < deadline:
            time.sleep(0.1)
        left += len(alive)
        began = (folder / command.output / "status.json").exists()
        again = command.resume if began else ()
        if process.exitcode == 0:
            break
    if not done:
        process = start((*words, *again), log)
        process.join()
        lines.append(log.read_text()[-300:])
    return {"kills": moments, "processes left": left, "exit code": process.exitcode, "log": lines}


def examine(command: Command, folder: Path, expected: dict[str, str]) -> dict[str, list[str]]:
    """Return which files differ from the undisturbed run, are missing, or should not be there."""
    found = fingerprint(folder / command.output)
    beside = [p.name for p in folder.iterdir() if p.name not in (command.output, "log.txt")]
    extra = [name for name in found if name not in expected] + [
        n for n in beside if f"beside {n}" not in expected
    ]
    return {
        "different": [name for name in expected if name in found and found[name] != expected[name]],
        "missing": [name for name in expected if name not in found and not name.startswith("beside ")],
        "extra": extra,
    }


def prepare(data: Path) -> None:
    """Make the files that the commands read."""
    data.mkdir(parents=True)
    scenes, features = f"scenes={data / 'scenes'}", f"features={data / 'regions.h5'}"
    steps = [
        ("scenes", f"out={data / 'scenes'}", *COUNTS, "num_workers=0"),
        ("extract", f"images={data / 'scenes/images'}", f"out={data / 'regions.h5'}", "detector=random"),
        ("train", "experiment=caption_scenes", scenes, features, *SMALL_MODEL, "trainer.max_epochs=1",
         f"out={data / 'run'}"),
        ("predict", f"run={data / 'run'}", features, f"images={data / 'scenes/captions_val.json'}",
         f"out={data / 'predictions.json'}"),
        ("features", "export", f"file={data / 'regions.h5'}", "format=pa_tsv", 
         f"out={data / 'exported.tsv'}"),
    ]  # fmt: skip
    for words in steps:
        process = start(words, data / "log.txt")
        process.join()
        if process.exitcode:
            raise SystemExit(f"{' '.join(words)}: {(data / 'log.txt').read_text()[-500:]}")


def study(name: str, command: Command, out: Path, kills: int, rng: random.Random) -> dict[str, Any]:
    """Kill one command as often as asked, in rows, and return the counts."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    first = out / "undisturbed"
    first.mkdir()
    started = time.monotonic()
    process = start((*command.words, f"{command.key}={first / command.output}"), first / "log.txt")
    process.join()
    seconds = time.monotonic() - started
    if process.exitcode:
        raise SystemExit(f"{name}: {(first / 'log.txt').read_text()[-500:]}")
    expected = fingerprint(first / command.output)
    expected |= {f"beside {p.name}": "" for p in first.iterdir() if p.name not in (command.output, "log.txt")}
    total: dict[str, Any] = {"kills": 0, "rows": 0, "processes left": 0, "failures": []}
    while total["kills"] < kills:
        folder = out / "killed"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        result = kill_in_a_row(command, folder, seconds, min(KILLS_IN_A_ROW, kills - total["kills"]), rng)
        total["kills"] += result["kills"]
        total["rows"] += 1
        total["processes left"] += result["processes left"]
        problems = (
            {k: v for k, v in examine(command, folder, expected).items() if v}
            if not result["exit code"]
            else {}
        )
        if result["exit code"] or problems:
            total["failures"].append({**problems, "exit code": result["exit code"], "log": result["log"]})
            print(name, total["failures"][-1], flush=True)
    print(f"{name}: {total['kills']} kills, {len(total['failures'])} failures", flush=True)
    return {**total, "seconds of an undisturbed run": round(seconds, 1)}


def run(options: dict[str, str]) -> None:
    """Run what ``results.json`` does not have yet, and write it there."""
    out, kills, seed = Path(options["out"]), int(options.get("kills", "40")), int(options.get("seed", "0"))
    target = Path(options.get("results", str(Path(__file__).parent / "results.json")))
    results: dict[str, Any] = json.loads(target.read_text()) if target.exists() else {"seed": seed}
    data = Path(tempfile.mkdtemp(dir=out)) / "data"
    prepare(data)
    names = options["only"].split(",") if "only" in options else list(commands(data))
    for place in ("one file system", "two file systems"):
        done = results.setdefault(place, {})
        folder = data.parent / place.replace(" ", "_")
        folder.mkdir()
        with other_file_system(folder) if place.startswith("two") else nullcontext():
            for name in [name for name in names if name not in done]:
                count = kills // 2 // FEWER.get(name, 1)
                rng = random.Random(f"{seed} {place} {name}")
                done[name] = study(name, commands(data)[name], folder / name, count, rng)
                target.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    run(dict(word.split("=", 1) for word in sys.argv[1:]))
