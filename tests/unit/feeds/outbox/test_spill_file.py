"""The file where messages wait: corrupt records, files of another format, a failing disk."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest

from app.feeds.outbox.spill_file import BLOCK_BYTES, SpillError, SpillFile, UnreadableSpan
from app.feeds.outbox.spill_format import KafkaRecord

M = 1_731_600_060_000


def _record(number: int, size: int = 0) -> KafkaRecord:
    value = f'{{"received_at":{M + number},"n":{number},"more":"{"x" * size}"}}'
    return KafkaRecord("topic", b"A", value.encode())


def _number(record: KafkaRecord) -> int:
    return int(record.value.split(b'"n":')[1].split(b",")[0])


def _read(spill: SpillFile) -> list[int]:
    found: list[int] = []
    while records := spill.read():
        found += map(_number, records)
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spill.bin"


def _flip(path: Path, at: int) -> None:
    """Turn one bit of the file around."""
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(bytes(content))


def _filled(path: Path, count: int, size: int = 0) -> list[int]:
    """Write a file of `count` records; return the position of each."""
    spill = SpillFile(path)
    starts = []
    for number in range(count):
        starts.append(path.stat().st_size)
        spill.append([_record(number, size)])
    spill.close()
    return starts


def test_one_wrong_bit_costs_one_record_and_is_named_with_its_position(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    starts = _filled(path, 5)
    _flip(path, starts[2] + 60)
    spill = SpillFile(path)
    assert spill.unread == 4
    assert _read(spill) == [0, 1, 3, 4]
    size = starts[3] - starts[2]
    assert f"{size} bytes at byte {starts[2]} cannot be read" in caplog.text
    assert caplog.text.count("cannot be read") == 1
    assert spill.take_unreadable() == [UnreadableSpan(M + 1, M + 3)]
    assert spill.take_unreadable() == []


@pytest.mark.parametrize("at", range(12))
def test_a_wrong_length_or_checksum_costs_one_record_too(path: Path, at: int) -> None:
    starts = _filled(path, 5)
    _flip(path, starts[1] + at)
    spill = SpillFile(path)
    assert _read(spill) == [0, 2, 3, 4]
    assert spill.take_unreadable() == [UnreadableSpan(M, M + 2)]


def test_the_first_record_may_be_the_corrupt_one(path: Path) -> None:
    starts = _filled(path, 3)
    _flip(path, starts[0] + 60)
    spill = SpillFile(path)
    assert _read(spill) == [1, 2]
    assert spill.take_unreadable() == [UnreadableSpan(M, M + 1)], (
        "the file's head knows when it began"
    )


def test_a_corrupt_end_is_cut_off_and_has_no_end_in_time(path: Path) -> None:
    starts = _filled(path, 3)
    _flip(path, starts[2] + 60)
    spill = SpillFile(path)
    assert _read(spill) == [0, 1]
    assert path.stat().st_size == starts[2]
    assert spill.take_unreadable() == [UnreadableSpan(M + 1, None)]


def test_a_record_that_is_corrupt_while_the_file_is_in_use_is_found_when_it_is_read(
    path: Path,
) -> None:
    spill = SpillFile(path)
    size = BLOCK_BYTES // 3
    for number in range(8):
        spill.append([_record(number, size)])
    first = [_number(record) for record in spill.read()]
    _flip(path, path.stat().st_size - 2 * size)
    assert first + _read(spill) == [0, 1, 2, 3, 4, 5, 7]
    assert not spill
    assert spill.take_unreadable() == [UnreadableSpan(M + 5, M + 7)]


def test_damage_that_reads_like_a_record_is_none(path: Path) -> None:
    inner = KafkaRecord("topic", None, b"\xfeREC" + struct.pack("<II", 4, 0) + b"rose" * 20)
    spill = SpillFile(path)
    spill.append([_record(0), inner, _record(2)])
    spill.close()
    content = path.read_bytes()
    _flip(path, content.index(inner.value) + 60)
    assert _read(SpillFile(path)) == [0, 2]


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 8)
        + struct.pack("<I", 9)
        + b"\x93\xa1t\xc0\xc4\x03abc",  # the first format
        b"THSPILL9" + bytes(40),
        b"PK\x03\x04 something of somebody else's",
    ],
)
def test_a_file_of_another_format_is_rejected_and_left_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(SpillError, match=r"spill\.bin .*Move it away"):
        SpillFile(path)
    assert path.read_bytes() == content


def test_a_file_that_a_crash_left_without_a_complete_head_is_a_new_one(path: Path) -> None:
    _filled(path, 0)
    path.write_bytes(path.read_bytes()[:11])
    spill = SpillFile(path)
    spill.append([_record(1)])
    assert _read(SpillFile(path)) == [1]


def test_with_a_corrupt_position_in_its_head_all_of_the_file_is_sent(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spill = SpillFile(path)
    spill.append(map(_record, range(3)))
    spill.read()
    spill.append(map(_record, range(3, 5)))
    spill.confirm()
    spill.close()
    assert _read(SpillFile(path)) == [3, 4]
    _flip(path, 9)
    assert _read(SpillFile(path)) == [0, 1, 2, 3, 4]
    assert "all of it is sent again" in caplog.text


class _Disk:
    """A disk that may refuse to force anything down, and may lose what it was to force."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refuses = False
        self.forced: list[tuple[int, int]] = []
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self._force)

    def _force(self, file: int) -> None:
        if self.refuses:
            raise OSError(errno.EIO, "Input/output error")
        self._fsync(file)
        state = os.fstat(file)
        self.forced.append((state.st_ino, state.st_size))


def test_a_rejected_sync_is_not_taken_for_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spill, disk = SpillFile(path), _Disk(monkeypatch)
    spill.append([_record(1)])
    disk.refuses = True
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output"):
            spill.sync()
        assert not spill.is_synced


def test_after_a_rejected_sync_all_of_it_is_written_anew_before_it_counts(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spill, disk = SpillFile(path), _Disk(monkeypatch)
    spill.append(map(_record, range(3)))
    disk.refuses = True
    with pytest.raises(OSError, match="Input/output"):
        spill.sync()
    disk.refuses = False
    before = path.stat().st_ino
    spill.append([_record(3)])
    spill.sync()
    spill.append([_record(4)])  # while the other file was being written
    assert not spill.is_synced, "it is not in its place yet"
    spill.finish_sync()
    assert not spill.is_synced, "the last record and the name of the file are not on the disk"
    spill.sync()
    assert spill.is_synced
    after = path.stat()
    assert after.st_ino != before
    assert (after.st_ino, after.st_size) in disk.forced
    assert (path.parent.stat().st_ino, path.parent.stat().st_size) in disk.forced
    spill.append([_record(5)])
    assert _read(SpillFile(path)) == [0, 1, 2, 3, 4, 5]
    assert _read(spill) == [0, 1, 2, 3, 4, 5]


def test_what_is_delivered_while_the_file_is_written_anew_is_not_sent_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spill, disk = SpillFile(path), _Disk(monkeypatch)
    size = BLOCK_BYTES // 2
    for number in range(4):
        spill.append([_record(number, size)])
    disk.refuses = True
    with pytest.raises(OSError, match="Input/output"):
        spill.sync()
    disk.refuses = False
    spill.sync()
    first = [_number(record) for record in spill.read()]
    spill.confirm()
    spill.finish_sync()
    assert 0 < len(first) < 4
    assert _read(SpillFile(path)) == list(range(len(first), 4))
    assert _read(spill) == list(range(len(first), 4))


def test_a_file_that_was_emptied_meanwhile_is_not_brought_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spill, disk = SpillFile(path), _Disk(monkeypatch)
    spill.append([_record(0)])
    disk.refuses = True
    with pytest.raises(OSError, match="Input/output"):
        spill.sync()
    disk.refuses = False
    spill.sync()
    assert _read(spill) == [0]
    spill.confirm()
    spill.append([_record(1)])
    spill.finish_sync()
    assert not spill.is_synced
    for _ in range(2):
        spill.sync()
        spill.finish_sync()
    assert spill.is_synced
    assert [item.name for item in path.parent.iterdir()] == [path.name]
    assert _read(SpillFile(path)) == [1]


def test_a_sync_of_what_was_there_does_not_cover_what_came_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spill = SpillFile(path)
    force = os.fsync

    def slow(file: int) -> None:
        force(file)
        spill.append([_record(9)])

    spill.append([_record(1)])
    monkeypatch.setattr(os, "fsync", slow)
    spill.sync()
    monkeypatch.setattr(os, "fsync", force)
    assert not spill.is_synced
    spill.sync()
    assert spill.is_synced


def test_a_new_file_has_its_name_on_the_disk_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spill, disk = SpillFile(path), _Disk(monkeypatch)
    spill.append([_record(1)])
    spill.sync()
    assert path.parent.stat().st_ino in {inode for inode, _ in disk.forced}


def test_a_spill_file_of_another_feed_is_a_sentence_and_stays_as_it_is(path: Path) -> None:
    spill = SpillFile(path, "live")
    spill.append([KafkaRecord("topic", b"A", b'{"type":"watermark","feed":"live"}')])
    spill.close()
    before = path.read_bytes()
    with pytest.raises(SpillError, match="holds messages of the feed live, but TICKHOUSE_FEED is"):
        SpillFile(path, "simulated")
    assert path.read_bytes() == before
    assert SpillFile(path, "live").unread == 1
