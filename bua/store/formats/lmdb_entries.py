"""Writes the entries of an LMDB to standard output; run as a process of its own.

LMDB maps its file into memory and trusts what it finds there: a damaged or truncated file can end the
process that reads it. Here that is a process with nothing else to lose.
"""

import struct
import sys
from pathlib import Path

#: Before each entry: lengths of key and value.
HEAD = struct.Struct("<QQ")


def main(path: Path) -> int:
    """Write every entry in the order of the keys; return 1, and say why, if the file is damaged."""
    import lmdb

    try:
        with (
            lmdb.open(str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False) as file,
            file.begin() as transaction,
        ):
            for key, value in transaction.cursor():
                sys.stdout.buffer.write(HEAD.pack(len(key), len(value)) + key)
                sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
    except (lmdb.Error, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
