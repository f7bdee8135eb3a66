"""Recordings: what is written is read, run after run, and a crash costs its last second."""

from __future__ import annotations

import gzip
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.errors import TickhouseError
from app.feeds.clock import ManualClock
from app.feeds.live import command
from app.feeds.live.recorder import Recorder
from app.feeds.live.recording_file import Event, RecordingError
from app.feeds.outbox.outbox import SPILL_FILE
from app.feeds.replay.recording import is_recording, read_recording
from app.settings import Settings

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


def test_an_answer_to_a_quote_is_a_connection_with_its_time(path: Path) -> None:
    recorder = Recorder(path, ManualClock(NOW))
    recorder.quote("A", '{"c":1.5,"dp":NaN}', NOW - 1)
    recorder.close()
    event = next(read_recording(path))
    assert event == Event(NOW - 1, "quote", symbols=("A",), raw='{"c":1.5,"dp":NaN}')


def test_it_is_a_gzip_file_of_connections(path: Path) -> None:
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
    assert "is incomplete" in caplog.text
    caplog.clear()
    _record(path, b"3")
    assert _frames(path) == [b"1", b"2", b"3"]
    assert caplog.text == ""


def test_another_file_is_not_read(path: Path) -> None:
    path.write_text("symbol,t,p,v\n")
    assert not is_recording(path)
    path.write_bytes(gzip.compress(b"hello\n"))
    with pytest.raises(RecordingError, match="is not a recording"):
        list(read_recording(path))


def _trades(path: Path) -> bytes:
    """Somebody's file of trades."""
    path.write_bytes(b"symbol,t,p,v\nA,1731600060000,1,1\n")
    return path.read_bytes()


def _compressed(path: Path) -> bytes:
    """The same as gzip, which a recording is, too."""
    path.write_bytes(gzip.compress(_trades(path)))
    return path.read_bytes()


def _recording_and_trades(path: Path) -> bytes:
    _record(path, b"1")
    path.write_bytes(path.read_bytes() + b"symbol,t,p,v\n")
    return path.read_bytes()


def _recording_and_compressed_trades(path: Path) -> bytes:
    _record(path, b"1")
    path.write_bytes(path.read_bytes() + gzip.compress(b"symbol,t,p,v\n"))
    return path.read_bytes()


def _recording_spoiled_in_its_middle(path: Path) -> bytes:
    _record(path, b"1", b"2", b"3")
    content = bytearray(path.read_bytes())
    second = content.index(b"\x1f\x8b", 1)
    content[second + 12 : second + 16] = b"\xff\xff\xff\xff"
    path.write_bytes(bytes(content))
    return path.read_bytes()


@pytest.mark.parametrize(
    "other",
    [
        _trades,
        _compressed,
        _recording_and_trades,
        _recording_and_compressed_trades,
        _recording_spoiled_in_its_middle,
    ],
)
def test_a_file_that_is_no_sound_recording_is_neither_added_to_nor_cut(
    path: Path, other: Callable[[Path], bytes]
) -> None:
    content = other(path)
    with pytest.raises(TickhouseError, match=r"it is not changed\. Name another file") as no:
        Recorder(path, ManualClock(NOW))
    assert no.value.exit_code == 2
    assert path.read_bytes() == content


def test_an_empty_file_becomes_a_recording(path: Path) -> None:
    path.touch()
    _record(path, b"1")
    assert _frames(path) == [b"1"]


@pytest.mark.parametrize("left", [1, 5, 12, 20])
@pytest.mark.parametrize("zeros", [0, 4096])
def test_a_member_that_a_crash_tore_anywhere_is_cut_off(path: Path, left: int, zeros: int) -> None:
    """After a crash of the machine the file may be as long as it was, with zeros at its end."""
    _record(path, b"1")
    complete = path.read_bytes()
    path.write_bytes(complete + gzip.compress(b'{"at":1,"what":"second"}\n')[:left] + bytes(zeros))
    _record(path, b"2")
    assert _frames(path) == [b"1", b"2"]
    assert path.read_bytes().startswith(complete)


def test_a_first_member_that_a_crash_tore_is_cut_off(path: Path) -> None:
    _record(path, b"1")
    path.write_bytes(path.read_bytes()[:15])
    _record(path, b"2")
    assert _frames(path) == [b"2"]


def test_two_processes_do_not_record_into_one_file(path: Path) -> None:
    recorder = Recorder(path, ManualClock(NOW))
    recorder.frame("c-1", b"1")
    recorder.flush()
    with pytest.raises(TickhouseError, match="Another process is writing to"):
        Recorder(path, ManualClock(NOW))
    recorder.close()
    _record(path, b"2")
    assert _frames(path) == [b"1", b"2"]


def _settings(folder: Path, **more: Any) -> Settings:
    return Settings(
        _env_file=None,
        tickhouse_feed="simulated",
        tickhouse_data_dir=folder / "data",
        finnhub_api_key=SecretStr("key"),
        finnhub_websocket_url="ws://127.0.0.1:1",
        **more,
    )


def test_what_is_no_file_is_not_recorded_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "none" / "day.gz"):
        with pytest.raises(TickhouseError, match="--record") as no:
            command.run(_settings(tmp_path), record=path)
        assert no.value.exit_code == 2


def test_no_file_that_the_producer_reads_or_keeps_is_recorded_to(tmp_path: Path) -> None:
    symbols = tmp_path / "symbols.txt"
    symbols.touch()
    settings = _settings(tmp_path, stocks_symbols_file=symbols)
    link = tmp_path / "link"
    link.symlink_to(symbols)
    settings.home.mkdir(parents=True)
    kept = [settings.home / name for name in (command.CHECKPOINT_FILE, SPILL_FILE, "produce.lock")]
    for path in (symbols, link, *kept):
        with pytest.raises(TickhouseError, match="is the same file as") as no:
            command.run(settings, record=path)
        assert no.value.exit_code == 2
