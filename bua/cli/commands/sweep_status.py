"""``bua sweep status``: how far a sweep has come."""

from dataclasses import dataclass

from bua.sweep.directory import SweepDirectory


@dataclass
class Options:
    """Keys of the command, described in conf/sweep_status.yaml."""

    sweep: str


def main(options: Options) -> None:
    """Print how many jobs are in which state, and a line for every job that is not done."""
    sweep = SweepDirectory(options.sweep)
    running = "a process is running it" if sweep.is_running() else "no process is running it"
    print(f"{sweep.path}: {sweep.describe()}; {running}")
    for job in sweep.jobs():
        if job.state != "done":
            print(f"{job.path.name}: {job.state}{f' ({job.error})' if job.error else ''}")
