"""The list of the newest rejections."""

from __future__ import annotations

from app.contracts import Rejection, encode
from app.dashboard.live import TopicRecord
from app.dashboard.rejections import HELD, SHOWN_BYTES, RecentRejections
from app.rejection_records import rejection_records


def record(value: bytes, at: int, reason: str = "schema") -> TopicRecord:
    (made,) = rejection_records(value, [Rejection(reason, "a reason")], "replay")
    return TopicRecord(encode(made), at)


def test_the_newest_come_first_whatever_partition_they_are_from() -> None:
    log = RecentRejections()
    log.apply([record(b"a", 30), record(b"b", 10)])
    log.apply([record(b"c", 20, "late")])
    assert [(r.payload, r.reason) for r in log.newest(2)] == [("a", "schema"), ("c", "late")]


def test_memory_is_bounded() -> None:
    log = RecentRejections()
    log.apply(record(b"x" * 64_000, at) for at in range(HELD + 50))
    shown = log.newest(HELD + 50)
    assert len(shown) == HELD
    assert shown[0].at == HELD + 49
    assert len(shown[0].payload or "") == SHOWN_BYTES
    assert shown[0].size == 64_000


def test_bytes_that_are_no_text_are_shown_escaped() -> None:
    log = RecentRejections()
    log.apply([record(b"\xff{\x00", 1)])
    assert log.newest(1)[0].payload == "\\xff{\x00"


def test_values_that_are_no_rejections_are_skipped() -> None:
    log = RecentRejections()
    log.apply([TopicRecord(None, 1), TopicRecord(b"{}", 2), TopicRecord(b"\xff", 3)])
    assert log.newest(5) == []
