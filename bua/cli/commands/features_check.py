"""``bua features check``: find damage in a feature file."""

from dataclasses import dataclass
from pathlib import Path

from bua.cli.findings import report_findings
from bua.store.check import check_store
from bua.store.schema import checksummed_columns


@dataclass
class Options:
    """Keys of the command, described in conf/features_check.yaml."""

    file: str


def main(options: Options) -> None:
    """Report that a file is valid, or its problems, one line each."""
    path = Path(options.file)
    problems = check_store(path)
    caveat = "; without a checksum header, damage outside the region columns may go unnoticed"
    note = caveat if not problems and checksummed_columns(path) is None else ""
    report_findings(path, (), problems, note)
