"""The delivery log: a run's own, in place of a former run's and of nothing else."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from app.errors import TickhouseError
from app.feeds.simulator.delivery_log.log import Arrived, DeliveryLog, read_deliveries
from app.feeds.simulator.server import command
from app.settings import Settings

FORMER, NEW = Arrived(1, 1, 1), Arrived(2, 1, 7)
TRADES = "symbol,t,p,v\nAAPL,1731600000000,10,1\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deliveries.jsonl"


def _write(path: Path, *deliveries: Arrived) -> None:
    with DeliveryLog(path) as log:
        log.begin()
        for delivery in deliveries:
            log.record(delivery)


def _run(path: Path, **more: object) -> None:
    """`tickhouse simulate` where another process listens: it ends before any delivery."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = Settings(_env_file=None)
        command.run(settings, "127.0.0.1", port, 1.0, 1, "t", delivery_log=path, **more)


def test_a_run_replaces_the_log_of_a_former_one(path: Path) -> None:
    _write(path, FORMER, FORMER)
    _write(path, NEW)
    assert read_deliveries(path) == [NEW]


def test_what_is_noted_before_the_log_begins_is_the_new_runs(path: Path) -> None:
    _write(path, FORMER)
    with DeliveryLog(path) as log:
        log.record(NEW)
        log.begin()
    assert read_deliveries(path) == [NEW]


def test_a_run_that_cannot_begin_leaves_the_former_log(path: Path, tmp_path: Path) -> None:
    _write(path, FORMER)
    with pytest.raises(TickhouseError, match="cannot listen"):
        _run(path)
    assert read_deliveries(path) == [FORMER]
    with pytest.raises(TickhouseError, match="cannot be read"):
        _run(path, play=tmp_path / "missing.csv")
    assert read_deliveries(path) == [FORMER]


@pytest.mark.parametrize("content", [TRADES, "{}\n", '{"what":"sent"', "\0\1"])
def test_another_file_is_not_overwritten(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(TickhouseError, match="is no delivery log; it is not overwritten") as no:
        _run(path)
    assert no.value.exit_code == 2
    assert path.read_text() == content


def test_no_input_is_overwritten(tmp_path: Path) -> None:
    """Not even an empty one, which could be a log to be."""
    for name, option in (("trades.csv", "play"), ("faults.toml", "script")):
        path, link = tmp_path / name, tmp_path / f"link-{name}"
        path.touch()
        link.symlink_to(path)
        for spelled in (path, link, tmp_path / "x" / ".." / name):
            with pytest.raises(TickhouseError, match=r"--delivery-log .* is the same file") as no:
                _run(spelled, **{option: path})
            assert no.value.exit_code == 2


def test_what_is_no_file_is_not_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "none" / "log.jsonl"):
        with pytest.raises(TickhouseError, match="--delivery-log") as no:
            _run(path)
        assert no.value.exit_code == 2


def test_two_simulators_do_not_write_one_log(path: Path) -> None:
    with DeliveryLog(path) as log:
        log.record(FORMER)
        with pytest.raises(TickhouseError, match="Another process is writing to"):
            DeliveryLog(path)
    assert read_deliveries(path) == [FORMER]
