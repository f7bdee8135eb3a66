"""What waits for Kafka: its order through memory, file, crash and return."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.feeds.outbox.backlog import Backlog, Numbered
from app.feeds.outbox.spill_file import BLOCK_BYTES, SpillFile
from app.feeds.outbox.spill_format import HEAD_BYTES, KafkaRecord


def _record(number: int, size: int = 0) -> KafkaRecord:
    return KafkaRecord("topic", b"A", f"{number}".encode().ljust(size))


def _number(record: KafkaRecord) -> int:
    return int(record.value)


def _take(backlog: Backlog, all_delivered: bool = True, most: int = 1_000_000) -> list[int]:
    taken: list[int] = []
    while len(taken) < most and (found := backlog.peek(all_delivered)):
        assert found.number == backlog.first
        taken.append(_number(found.record))
        backlog.pop()
    return taken


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spill.bin"


def test_when_memory_is_full_the_oldest_go_to_the_file_and_come_back_first(path: Path) -> None:
    backlog = Backlog(10_000, SpillFile(path))
    for number in range(500):
        backlog.add(_record(number))
    assert path.stat().st_size > 5_000
    assert backlog.in_memory_bytes <= 10_000
    assert len(backlog) == 500
    assert _take(backlog) == list(range(500))
    assert (len(backlog), backlog.in_memory_bytes) == (0, 0)
    assert backlog.peek(all_delivered=True) is None
    assert path.stat().st_size == HEAD_BYTES


def test_what_comes_back_goes_first_again(path: Path) -> None:
    backlog = Backlog(10_000, SpillFile(path))
    for number in range(100):
        backlog.add(_record(number))
    taken = _take(backlog, most=30)
    backlog.requeue([Numbered(number + 1, _record(number)) for number in taken[10:]])
    assert _take(backlog) == list(range(10, 100))


def test_the_next_part_of_the_file_waits_until_the_last_has_arrived(path: Path) -> None:
    size = BLOCK_BYTES // 4
    backlog = Backlog(size, SpillFile(path))
    for number in range(12):
        backlog.add(_record(number, size))
    first = _take(backlog, all_delivered=False)
    assert first == list(range(len(first)))
    assert 0 < len(first) < 8
    assert backlog.peek(all_delivered=False) is None
    assert _take(backlog) == list(range(len(first), 12))


def test_what_was_not_delivered_is_there_after_a_crash(path: Path) -> None:
    backlog = Backlog(1_000, SpillFile(path))
    for number in range(300):
        backlog.add(_record(number))
    in_file = 300 - backlog.in_memory_bytes // _record(100).size
    _take(backlog, all_delivered=False, most=50)
    again = Backlog(1_000, SpillFile(path))
    assert _take(again) == list(range(in_file))


def test_what_was_delivered_is_not_sent_again_after_a_crash(path: Path) -> None:
    backlog = Backlog(1_000, SpillFile(path))
    for number in range(300):
        backlog.add(_record(number))
    _take(backlog)
    assert not Backlog(1_000, SpillFile(path))


def test_a_record_that_a_crash_cut_off_is_not_read(path: Path) -> None:
    spill = SpillFile(path)
    spill.append([_record(1), _record(2)])
    complete = path.stat().st_size
    spill.append([_record(3)])
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)
    again = SpillFile(path)
    assert path.stat().st_size == complete
    again.append([_record(4)])
    assert [_number(record) for record in again.read()] == [1, 2, 4]


def test_the_end_keeps_all_of_it_in_its_order(path: Path) -> None:
    backlog = Backlog(1_000, SpillFile(path))
    for number in range(100):
        backlog.add(_record(number))
    taken = _take(backlog, all_delivered=False, most=7)
    kept = backlog.spill_all([_record(number) for number in taken[2:]])
    assert kept == 98
    assert _take(Backlog(1_000, SpillFile(path))) == list(range(2, 100))


@pytest.mark.parametrize("damage", [b"\0" * 100, b"\xff" * 100, b"\x04\0\0\0rose" * 9])
def test_what_is_behind_a_damage_is_read_all_the_same(
    path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    spill = SpillFile(path)
    spill.append(map(_record, range(3)))
    complete = path.stat().st_size
    spill.append([_record(3, 200), _record(4)])
    spill.close()
    with path.open("r+b") as file:
        file.seek(complete)
        file.write(damage)
    again = SpillFile(path)
    assert [_number(record) for record in again.read()] == [0, 1, 2, 4]
    assert f"bytes at byte {complete} cannot be read" in caplog.text
    again.append([_record(5)])
    assert [_number(record) for record in SpillFile(path).read()] == [0, 1, 2, 4, 5]


def test_without_the_position_in_its_head_all_of_the_file_is_sent(path: Path) -> None:
    spill = SpillFile(path)
    spill.append(map(_record, range(3)))
    spill.close()
    with path.open("r+b") as file:
        file.seek(8)
        file.write(bytes(16))
    assert [_number(record) for record in SpillFile(path).read()] == [0, 1, 2]


class _Disk:
    """Notes when something is forced to the disk: how large it was, and what was renamed then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        self.forced_bytes: list[int] = []
        force, rename = os.fsync, Path.replace

        def fsync(file: int) -> None:
            force(file)
            self.events.append("forced")
            if stat.S_ISREG(os.fstat(file).st_mode):
                self.forced_bytes.append(os.fstat(file).st_size)

        def replace(path: Path, target: Path) -> Path:
            self.events.append("renamed")
            return rename(path, target)

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(Path, "replace", replace)


def test_what_went_to_the_file_is_forced_to_the_disk_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backlog, disk = Backlog(1_000, SpillFile(path)), _Disk(monkeypatch)
    assert not backlog.must_sync
    for number in range(100):
        backlog.add(_record(number))
    assert backlog.must_sync
    backlog.sync()
    assert disk.forced_bytes == [path.stat().st_size]
    assert not backlog.must_sync
    backlog.sync()
    assert len(disk.forced_bytes) == 1


def test_what_is_kept_is_on_the_disk_before_it_counts(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backlog, disk = Backlog(1_000, SpillFile(path)), _Disk(monkeypatch)
    for number in range(100):
        backlog.add(_record(number))
    backlog.spill_all([])
    assert disk.events[0] == "forced"
    assert disk.events.index("renamed") < len(disk.events) - 1
    assert disk.forced_bytes[-1] == path.stat().st_size


def test_without_room_on_the_disk_nothing_is_lost_and_no_more_is_wanted(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full = _FullDisk(path)
    backlog = Backlog(1_000, full)
    for number in range(100):
        backlog.add(_record(number))
    assert not backlog.has_room
    assert caplog.text.count("Free some space there") == 1
    full.is_full = False
    assert backlog.has_room
    assert _take(backlog) == list(range(100))


class _FullDisk(SpillFile):
    is_full = True

    def append(self, records: object) -> None:
        if self.is_full:
            raise OSError(28, "No space left on device")
        super().append(records)  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.lists(st.one_of(st.just("add"), st.integers(1, 30)), max_size=80))
def test_whatever_happens_the_order_stays(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str | int]
) -> None:
    backlog = Backlog(2_000, SpillFile(tmp_path_factory.mktemp("spill") / "spill.bin"))
    added, taken = 0, []
    for step in steps:
        if isinstance(step, int):
            taken += _take(backlog, most=step)
            continue
        for _ in range(10):
            backlog.add(_record(added))
            added += 1
    assert taken + _take(backlog) == list(range(added))
