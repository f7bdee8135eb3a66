"""Output files: atomic replacement, permissions and locks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.contract_schemas import write_schemas
from app.embedded import airflow
from app.embedded.ports import remembered_ports
from app.embedded.s3 import S3Server
from app.feeds.outbox.spill_file import SpillFile
from app.feeds.outbox.spill_format import HEAD_BYTES, KafkaRecord
from app.outputs import OutputError, lock_output, replacing, write_atomically
from app.warehouse import published, seeds
from benchmarks import _report, page
from tests.full_disk import no_file_longer_than

Write = Callable[[Path], object]


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_file_has_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    former = os.umask(0o027)
    try:
        write_atomically(tmp_path / "new", "text")
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
    write_atomically(path, "old")
    with path.open() as reader:
        write_atomically(path, b"new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_a_file_has_a_single_writer(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as first, path.open("ab") as second:
        lock_output(first, path)
        with pytest.raises(OutputError, match="Another process is writing to"):
            lock_output(second, path)
    with path.open("ab") as later:
        lock_output(later, path)


def _spill(folder: Path) -> None:
    SpillFile(folder / "spill.bin").replace([KafkaRecord("topic", b"A", b"1" * 100)])


WRITERS: dict[str, Write] = {
    "gold's pointer": lambda folder: published.point_to(folder / "gold-000000000001.duckdb"),
    "messages for Kafka": _spill,
    "ports": lambda folder: remembered_ports(folder / "ports.json", ("a", "b")),
    "the S3 server's key": lambda folder: S3Server(folder)._write_credentials(),
    "Airflow's password": lambda folder: airflow._password(folder / "passwords.json"),
    "Airflow's keys": lambda folder: airflow._keys(folder / "secrets.json"),
    "schemas": write_schemas,
    "seeds of dbt": lambda folder: seeds.write_seeds(),
    "figures": lambda folder: _report.write_result("name", {"title": "How fast"}),
    "the page of figures": lambda folder: page.main(),
}


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that is written to, by those as well that write into the repository."""
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.setattr(_report, "RESULTS", folder)
    monkeypatch.setattr(page, "PAGE", folder / "performance.md")
    monkeypatch.setattr(seeds, "SEEDS", {folder / "conditions.csv": seeds.conditions_csv})
    return folder


def _held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_without_room_no_file_is_half_written(write: Write, elsewhere: Path) -> None:
    room = HEAD_BYTES if write is _spill else 16  # what waits for Kafka begins with its head
    with pytest.raises(OSError, match="File too large"), no_file_longer_than(room):
        write(elsewhere)
    assert all(not held or len(held) == HEAD_BYTES for held in _held(elsewhere).values())


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_without_room_the_former_file_stays(write: Write, elsewhere: Path) -> None:
    write(elsewhere)
    before = _held(elsewhere)
    try:
        with no_file_longer_than(16):
            write(elsewhere)
    except OSError:
        pass
    assert _held(elsewhere) == before
