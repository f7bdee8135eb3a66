"""The warehouse's lock."""

from __future__ import annotations

import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from app.warehouse.lock import WarehouseBusy, exclusive


def test_second_waits_until_the_first_is_done(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    warehouse, order = tmp_path / "STOCKS.duckdb", []
    waiting = Event()

    class Recorder(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            waiting.set()

    handler = Recorder()
    logging.getLogger("tickhouse.warehouse").addHandler(handler)

    def second() -> None:
        with exclusive(warehouse, "build"):
            order.append("second")

    with caplog.at_level(logging.INFO), ThreadPoolExecutor(1) as pool:
        with exclusive(warehouse, "load"):
            done = pool.submit(second)
            assert waiting.wait(30)
            order.append("first")
        done.result(30)
    logging.getLogger("tickhouse.warehouse").removeHandler(handler)

    assert order == ["first", "second"]
    assert "in use by load (process" in caplog.text


def test_too_long_a_wait_names_the_holder(tmp_path: Path) -> None:
    warehouse = tmp_path / "STOCKS.duckdb"
    with (
        exclusive(warehouse, "load"),
        pytest.raises(WarehouseBusy, match="in use by load"),
        exclusive(warehouse, "build", timeout_s=0),
    ):
        pass


def test_lock_is_free_after_an_error(tmp_path: Path) -> None:
    warehouse = tmp_path / "STOCKS.duckdb"
    with pytest.raises(ValueError, match="inside"), exclusive(warehouse, "load"):
        raise ValueError("inside")

    with exclusive(warehouse, "build", timeout_s=0):
        pass


def test_child_that_inherits_the_lock_holds_it_when_its_parent_is_gone(tmp_path: Path) -> None:
    warehouse = tmp_path / "STOCKS.duckdb"
    with exclusive(warehouse, "build") as lock:
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"],
            stdin=subprocess.PIPE,
            pass_fds=(lock,),
        )
    with pytest.raises(WarehouseBusy), exclusive(warehouse, "load", timeout_s=0):
        pass
    child.communicate(b"")

    with exclusive(warehouse, "load", timeout_s=0):
        pass
