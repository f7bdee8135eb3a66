"""Recordings: what is written is read, run after run, and a crash costs its last second."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import pytest

from app.feeds.clock import ManualClock
from app.feeds.recording import Event, Recorder, RecordingError, is_recording, read_recording

NOW = 1_731_600_060_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "day.jsonl.gz"


def _record(path: Path, *frames: bytes) -> None:
    recorder = Recorder(path, ManualClock(NOW))
    recorder.opened("c-1", ["A", "B"])
    for frame in frames:
        recorder.frame("c-1", frame)
        recorder.flush()
    recorder.close()


def _frames(path: Path) -> list[bytes]:
    return [event.frame for event in read_recording(path) if event.what == "frame"]


def test_what_was_recorded_is_read(path: Path) -> None:
    _record(path, b'{"type":"ping"}', "é".encode(), b"\xff\x00")
    assert list(read_recording(path)) == [
        Event(NOW, "opened", "c-1", ("A", "B")),
        Event(NOW, "frame", "c-1", raw='{"type":"ping"}'),
        Event(NOW, "frame", "c-1", raw="é"),
        Event(NOW, "frame", "c-1", raw_bytes=b"\xff\x00"),
        Event(NOW, "stopped"),
    ]
    assert _frames(path) == [b'{"type":"ping"}', "é".encode(), b"\xff\x00"]


def test_an_answer_to_a_quote_is_a_line_with_its_time(path: Path) -> None:
    recorder = Recorder(path, ManualClock(NOW))
    recorder.quote("A", '{"c":1.5,"dp":NaN}', NOW - 1)
    recorder.close()
    event = next(read_recording(path))
    assert event == Event(NOW - 1, "quote", symbols=("A",), raw='{"c":1.5,"dp":NaN}')


def test_it_is_a_gzip_file_of_lines(path: Path) -> None:
    _record(path, b"1")
    assert is_recording(path)
    assert gzip.decompress(path.read_bytes()).count(b"\n") == 3


def test_the_next_run_adds_to_it(path: Path) -> None:
    _record(path, b"1")
    _record(path, b"2")
    assert _frames(path) == [b"1", b"2"]


def test_what_a_crash_tore_is_left_out_and_cut_off_by_the_next_run(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    _record(path, b"1", b"2")
    path.write_bytes(path.read_bytes()[:-5])
    assert _frames(path) == [b"1", b"2"]
    assert "torn off" in caplog.text
    caplog.clear()
    _record(path, b"3")
    assert _frames(path) == [b"1", b"2", b"3"]
    assert caplog.text == ""


def test_another_file_is_neither_read_nor_overwritten(path: Path) -> None:
    path.write_text("symbol,t,p,v\n")
    assert not is_recording(path)
    with pytest.raises(RecordingError, match="is no recording"):
        Recorder(path, ManualClock(NOW))
    path.write_bytes(gzip.compress(b"hello\n"))
    with pytest.raises(RecordingError, match="is no recording"):
        list(read_recording(path))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="cannot be written"):
        Recorder(tmp_path / "none" / "day.gz", ManualClock(NOW))
