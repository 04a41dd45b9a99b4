"""Hashes of files."""

import hashlib

from bua.io.files import file_sha256


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "f").write_bytes(content)
    assert (
        file_sha256(tmp_path / "f") == file_sha256(str(tmp_path / "f")) == hashlib.sha256(content).hexdigest()
    )
