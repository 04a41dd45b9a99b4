"""The launcher of processes: devices, failures, and what happens if it is killed itself."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.errors import InputError
from bua.sweep.directory import SweepDirectory
from bua.sweep.launcher import describe_failure, gpu_groups
from tests.helpers.captioners import training
from tests.helpers.commands import run_error, run_ok


@given(gpus=st.integers(1, 9), per_job=st.integers(1, 4), n_jobs=st.integers(1, 5))
def test_jobs_at_a_time_never_use_the_same_gpu(gpus, per_job, n_jobs) -> None:
    names = [f"GPU-{n}" for n in range(gpus)]
    if per_job * n_jobs > gpus:
        with pytest.raises(
            InputError, match=rf"n_jobs={n_jobs}: {gpus} GPUs are enough for {gpus // per_job} jobs"
        ):
            gpu_groups(names, per_job, n_jobs)
        return
    groups = gpu_groups(names, per_job, n_jobs)
    used = [name for group in groups for name in str(group).split(",")]
    assert len(groups) == n_jobs
    assert len(used) == len(set(used)) == per_job * n_jobs
    assert set(used) <= set(names)


def test_without_gpus_nothing_is_assigned() -> None:
    assert gpu_groups([], 2, 3) == [None, None, None]


def test_why_a_job_failed_is_the_last_line_of_its_own_output(tmp_path) -> None:
    file = tmp_path / "seed=0.log"
    before = "bua train: of an earlier attempt\n"
    file.write_text(f"{before}epoch 1\nbua train: optimizer.lr=-1: is wrong\n\n")
    assert describe_failure(2, file, len(before)) == f"optimizer.lr=-1: is wrong ({file})"
    assert describe_failure(-9, file, 0) == "was ended by SIGKILL, probably because memory ran out"
    assert describe_failure(-15, file, 0) == "was ended by SIGTERM"
    file.write_text(before)
    assert describe_failure(3, file, len(before)) == f"exit code 3 ({file})"


@pytest.mark.slow
def test_a_job_that_fails_costs_one_job_and_resume_tries_it_again(scenes, tmp_path, capfd) -> None:
    command = training(scenes, tmp_path / "s", "model.attention_size=6", "-m", "hydra.launcher.n_jobs=2")
    (tmp_path / "bad.txt").write_text("words without numbers\n")
    vectors = f"word_vectors=null,{tmp_path}/bad.txt"
    line = run_error(capfd, *command, vectors)
    assert "bad.txt" in line
    assert "(1 of 2 jobs failed)" in line
    sweep = SweepDirectory(tmp_path / "s")
    assert [job.state for job in sweep.jobs()] == ["done"]
    assert sweep.describe() == "1 of 2 jobs done, 1 not begun"
    done = sweep.jobs()[0].path / "status.json"
    before = done.stat().st_mtime_ns
    (tmp_path / "bad.txt").write_text("".join(f"{word} {'1 ' * 8}\n" for word in ("a", "the", "red")))
    run_ok("sweep", "resume", tmp_path / "s")
    assert sweep.describe() == "2 of 2 jobs done"
    assert done.stat().st_mtime_ns == before


def test_jobs_end_with_the_process_that_launched_them_and_go_on_later(scenes, tmp_path, capfd) -> None:
    command = training(
        scenes, tmp_path / "s", "model.attention_size=6", "-m", "seed=0", "trainer.max_epochs=400"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "bua", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    status = tmp_path / "s/0/status.json"
    pid = wait_for(lambda: running_pid(status))
    assert pid != process.pid
    wait_for(lambda: (tmp_path / "s/0/checkpoints/last.ckpt").exists())
    assert "is being swept by process" in run_error(capfd, "sweep", "resume", tmp_path / "s")
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not is_alive(pid))
    [job] = SweepDirectory(tmp_path / "s").jobs()
    assert job.state == "killed"


@pytest.mark.slow
def test_a_full_disk_and_a_killed_job_cost_these_jobs_alone(scenes, tmp_path, small_disk) -> None:
    folder = tmp_path / "s"
    command = training(
        scenes, folder, "model.attention_size=6", "-m", "seed=0,1,2", "hydra.launcher.n_jobs=3"
    )
    folder.mkdir()
    (folder / "seed=1").symlink_to(small_disk)
    (small_disk / "ballast").write_bytes(bytes(900_000))
    long = "trainer.max_epochs=400"
    process = subprocess.Popen(
        [sys.executable, "-m", "bua", *command, long],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    pids = {n: wait_for(lambda n=n: running_pid(folder / f"seed={n}/status.json")) for n in (0, 2)}
    os.kill(pids[2], signal.SIGKILL)
    wait_for(lambda: (folder / "seed=0/checkpoints/last.ckpt").exists())
    wait_for(lambda: SweepDirectory(folder).describe().count("killed"))
    assert is_alive(pids[0])
    os.kill(pids[0], signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 2
    assert re.search(r"seed=1: failed: .*No space left on device", output)
    assert "seed=2: failed: was ended by SIGKILL, probably because memory ran out" in output
    assert "(3 of 3 jobs failed)" in output.splitlines()[-1]


def running_pid(status: Path) -> int | None:
    return json.loads(status.read_text())["pid"] if status.exists() else None


def wait_for(condition, seconds: float = 200.0):
    """Return the value of a condition once it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError("waited too long")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return os.path.exists(f"/proc/{pid}")
