"""Files that are replaced whole, their permissions, and their locks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.outputs import OutputError, lock_output, replacing, write_whole


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_file_has_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    former = os.umask(0o027)
    try:
        write_whole(tmp_path / "new", "text")
    finally:
        os.umask(former)
    assert _mode(tmp_path / "new") == 0o640


def test_a_private_file_is_private_before_anything_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch(mode=0o644)
    with replacing(path, 0o600) as file:
        (partial,) = set(tmp_path.iterdir()) - {path}
        assert _mode(partial) == 0o600
        file.write(b"secret")
    assert _mode(path) == 0o600
    assert path.read_text() == "secret"


def test_readers_of_the_old_file_keep_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, "old")
    with path.open() as reader:
        write_whole(path, b"new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_a_file_has_one_writer(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as one, path.open("ab") as other:
        lock_output(one, path)
        with pytest.raises(OutputError, match="Another process is writing to"):
            lock_output(other, path)
    with path.open("ab") as other:
        lock_output(other, path)
